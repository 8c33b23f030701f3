"""The configuration files of a cluster of two nodes on one machine."""

import contextlib
import os
import socket
from pathlib import Path
from random import SystemRandom

from tests.slurm.processes import NODES

_SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmctldPidFile={home}/slurmctld.pid
SlurmctldLogFile={home}/slurmctld.log
StateSaveLocation={home}/state
SlurmdPidFile={home}/%n.pid
SlurmdLogFile={home}/%n.log
SlurmdSpoolDir={home}/%n
SlurmUser=root
AuthType=auth/munge
# A requeued job may not start before its old credential has expired: five seconds is the least that Slurm accepts.
AuthInfo=socket={home}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
# Without it a preempted job gets SIGTERM instead of what it asked for with --signal.
SlurmctldParameters=preempt_send_user_signal
# Nodes may claim more than the machine has.
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
# A node is down when it has let two pings pass, which takes twenty seconds.
SlurmdTimeout=5
MessageTimeout=7
InactiveLimit=0
MinJobAge=300
MaxArraySize={max_array_size}
MaxJobCount=1000
FirstJobId=1
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={home}/munge.socket
JobAcctGatherType=jobacct_gather/none
JobAcctGatherFrequency=0
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node1_port} CPUs=4 RealMemory=8000 Gres=gpu:2
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node2_port} CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=DEFAULT Nodes=node[1-2] DefaultTime=60 MaxTime=INFINITE State=UP
PartitionName=main Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s}
PartitionName=high PriorityTier=10 PreemptMode=OFF
PartitionName=brief PriorityTier=1 PreemptMode=OFF DefaultTime=1 MaxTime=1
"""

# Any character devices do, and these exist in every container.
_GRES_CONF = """\
AutoDetect=off
NodeName=node[1-2] Name=gpu File=/dev/zero
NodeName=node[1-2] Name=gpu File=/dev/full
"""

_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser=root
LogFile={home}/slurmdbd.log
PidFile={home}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def write(root: Path, home: Path, max_array_size: int, grace_s: int) -> dict[int, int]:
    """Write them, and the folders and the key that they name, below `root`; `home` is a short name for it.

    Returns the ports at which the nodes are to listen.
    """
    controller, accounting, *nodes = _free_ports(2 + len(NODES))
    ports = dict(zip(NODES, nodes, strict=True))
    values = {
        "name": home.parent.name,
        "host": socket.gethostname().partition(".")[0],
        "home": home,
        "max_array_size": max_array_size,
        "grace_s": grace_s,
        "controller_port": controller,
        "accounting_port": accounting,
        **{f"node{node}_port": port for node, port in ports.items()},
    }
    for name, template in (("slurm", _SLURM_CONF), ("slurmdbd", _SLURMDBD_CONF), ("gres", _GRES_CONF)):
        path = root / f"{name}.conf"
        path.touch(mode=0o600 if name == "slurmdbd" else 0o644)  # slurmdbd insists
        path.write_text(template.format(**values))
    for folder in ("state", "tmp", *(f"node{node}" for node in NODES)):
        (root / folder).mkdir()
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    return ports


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, below those that the kernel gives to clients."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = SystemRandom().randrange(20000, 32000)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                ports.append(port)
    return ports
