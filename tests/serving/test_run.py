"""Process-wide settings of a server."""

import gc

from tastemaker.serving.run import keep_from_collector


def test_garbage_collection_skips_the_modules_of_a_server() -> None:
    try:
        keep_from_collector()
        assert gc.get_freeze_count() > 50_000
        assert len(gc.get_objects()) < 5_000
    finally:
        gc.unfreeze()
