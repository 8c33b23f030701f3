"""A process that has imported what every run needs, and forks a child for each run: the program and its messages.

A run then starts in milliseconds, not after the ten seconds that its imports take, and yet has a process of its own.
multiprocessing's fork server is not used because it imports the main module again in every child, hides preloads that
fail, is one for the whole process, and leaves children and grandchildren behind when its owner is killed.

The owner sends Begin and Stop through a socket and is sent Begun and Ended. When the socket closes, for whatever
reason, everything that was started here is killed.
"""

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import logging
import math
import multiprocessing.util
import os
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from orchestrator import worker

# What a child that could not even begin exits with.
STILLBORN = 70
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_END_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Begin:
    """Carry out a run: `timeout_s` after its start it is asked to stop, and `grace_s` later killed."""

    job: int
    run_dir: str
    target: str
    log: str
    env: Mapping[str, str]
    timeout_s: float | None
    grace_s: float


@dataclass(frozen=True)
class Stop:
    """Ask a run to stop, and kill it with its process group `kill_after_s` later; 0 is at once."""

    job: int
    kill_after_s: float


@dataclass(frozen=True)
class Begun:
    """The run has a process."""

    job: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """The run's process is gone: its exit code, or minus the signal that killed it."""

    job: int
    code: int
    timed_out: bool = False
    error: str | None = None


@dataclass
class _Child:
    job: int
    pid: int
    grace_s: float
    stop_at: float
    kill_at: float = math.inf
    timed_out: bool = field(default=False)


def command(socket_fd: int, preload: Sequence[str]) -> list[str]:
    """What starts the server: it imports from where this process does."""
    here = [str(Path(entry).absolute()) for entry in sys.path]
    program = (
        "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
        "from orchestrator.launchers.fork_server import main; main(given['socket_fd'], given['preload'])"
    )
    return [sys.executable, "-c", program, json.dumps({"path": here, "socket_fd": socket_fd, "preload": list(preload)})]


def main(socket_fd: int, preload: Sequence[str]) -> None:
    """The program of the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(socket_fd, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with _ending_with_owner(socket_fd):
        _import(preload)
    if preload and _gpu_in_use():
        # A CUDA context does not survive a fork: give up the head start rather than the runs.
        print("importing", *preload, "used the GPU; each run imports for itself", file=sys.stderr, flush=True)
        os.set_inheritable(socket_fd, True)
        os.execv(sys.executable, command(socket_fd, ()))  # noqa: S606 - our own program
    # Children then do not copy the pages of what was imported merely because the collector looks at it.
    gc.collect()
    gc.freeze()
    _Server(Connection(socket_fd)).serve()


def _import(modules: Sequence[str]) -> None:
    """A module that cannot be imported is told of by the runs, each of which tries again."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            traceback.print_exc()


def _gpu_in_use() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


@contextlib.contextmanager
def _ending_with_owner(socket_fd: int) -> Iterator[None]:
    """End this process when the owner closes the socket, also in the middle of an import.

    The thread is gone before anything is forked: a child would inherit the locks that it holds.
    """
    over, tell_over = os.pipe()
    poll = select.poll()
    poll.register(socket_fd, 0)  # hang-up is always told
    poll.register(over, select.POLLIN)

    def watch() -> None:
        if any(descriptor == socket_fd for descriptor, _ in poll.poll()):
            os._exit(0)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(tell_over, b"x")
        thread.join()
        os.close(over)
        os.close(tell_over)


class _Server:
    """Forks, watches and ends the children; one thread."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        self._child_died, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # with a handler, the wake-up pipe is written to
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the owner closes the socket."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self._reap()
                self._keep_deadlines()
                ready = wait([self._owner, self._child_died], self._seconds_left())
                if self._child_died in ready:
                    os.read(self._child_died, 4096)
                if self._owner in ready:
                    self._obey(self._owner.recv())
        self._end_all()
        _exit(0)

    def _obey(self, message: Begin | Stop) -> None:
        if isinstance(message, Begin):
            self._begin(message)
            return
        for child in self._children.values():
            if child.job == message.job:
                self._stop(child, message.kill_after_s)

    def _begin(self, begin: Begin) -> None:
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            self._owner.send(Ended(begin.job, STILLBORN, error=f"no process could be started: {error}"))
            return
        if pid == 0:
            self._become(begin)
        stop_at = math.inf if begin.timeout_s is None else time.monotonic() + begin.timeout_s
        self._children[pid] = _Child(begin.job, pid, begin.grace_s, stop_at)
        self._owner.send(Begun(begin.job, pid))

    def _become(self, begin: Begin) -> None:
        """In the child: carry out the run, and never come back."""
        code = STILLBORN
        try:
            self._leave_server(begin)
            code = worker.run(Path(begin.run_dir), begin.target)
        except BaseException:
            traceback.print_exc()
        finally:
            _exit(code)

    def _leave_server(self, begin: Begin) -> None:
        """Cut every tie: own session, own files, own environment; and die when the server dies."""
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:  # it died before the line above
            os._exit(STILLBORN)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in (self._child_died, self._wake):
            os.close(descriptor)
        self._owner.close()
        log = os.open(begin.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        faulthandler.enable()
        os.environ.update(begin.env)
        _disown_exit_handlers()

    def _reap(self) -> None:
        """Take note of the dead; grandchildren of a dead run are handed to this process and are reaped as well."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                _kill_group(pid)  # what the run left behind
                self._owner.send(Ended(child.job, os.waitstatus_to_exitcode(status), child.timed_out))

    def _seconds_left(self) -> float | None:
        until = min((min(child.stop_at, child.kill_at) for child in self._children.values()), default=math.inf)
        return None if until == math.inf else max(0.0, until - time.monotonic())

    def _keep_deadlines(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if now >= child.stop_at:
                child.timed_out = True
                self._stop(child, child.grace_s)
            if now >= child.kill_at:
                child.kill_at = math.inf
                _kill_group(child.pid)
                os.kill(child.pid, signal.SIGKILL)  # it may have no group yet

    def _stop(self, child: _Child, kill_after_s: float) -> None:
        child.stop_at = math.inf
        child.kill_at = min(child.kill_at, time.monotonic() + kill_after_s)
        if kill_after_s > 0:
            os.kill(child.pid, signal.SIGTERM)

    def _end_all(self) -> None:
        """Kill the children and all their descendants, also those that made sessions of their own."""
        for pid in self._children:
            _kill_group(pid)
        give_up_at = time.monotonic() + _END_PATIENCE_S
        while time.monotonic() < give_up_at:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)


def _disown_exit_handlers() -> None:
    """In a child: what the server's imports want done at exit, as removing temporary folders, is the server's to do."""
    atexit._clear()
    multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


def _exit(code: int) -> None:
    """Exit as usual, but for taking apart all that was imported, which takes up to two seconds for trl."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    """Where there is no prctl, children outlive a server that is killed; one whose owner dies still ends them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
