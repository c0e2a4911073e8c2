"""gunicorn's ASGI worker at a mount point, which it takes from its class alone."""

from typing import Any, ClassVar

from uvicorn.workers import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "root_path": "/shop"}
