import gc
import sys

from tastemaker.serving.run import favor_short_requests


def test_no_collection_looks_through_the_modules_of_a_server() -> None:
    interval = sys.getswitchinterval()
    try:
        favor_short_requests()
        assert gc.get_freeze_count() > 50_000
        assert len(gc.get_objects()) < 5_000
        assert sys.getswitchinterval() == 0.001
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
