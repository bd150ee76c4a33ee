"""What a kernel runs first in a lecture, through PYTHONSTARTUP: it loads the cache of ``lecture_cache``."""

get_ipython().extension_manager.load_extension("course_utils.tools.lecture_cache")  # type: ignore[name-defined]  # noqa: F821
