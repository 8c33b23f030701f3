"""stub"""
import contextlib
class Tracker:
    url = None
    def log(self, step, values): pass
@contextlib.contextmanager
def start(spec, config):
    yield Tracker()
