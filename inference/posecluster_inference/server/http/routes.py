"""The routes of both ports: one for clients, one for probes and metrics."""

from aiohttp import web

from posecluster_inference.server.http import handlers
from posecluster_inference.server.http.middleware import SERVICE, every_request
from posecluster_inference.server.http.service import Service


async def _leave_expectation(request: web.Request) -> None:
    """Send no 100 Continue: `BodyReader` sends it after checking the head."""


def client_app(service: Service) -> web.Application:
    """Return the application of the client port."""
    app = web.Application(middlewares=[every_request])
    app[SERVICE] = service
    app.router.add_post("/v1/detect", handlers.detect, expect_handler=_leave_expectation)
    app.router.add_get("/v1/model", handlers.model, expect_handler=_leave_expectation)
    app.router.add_get("/healthz", handlers.client_healthz, expect_handler=_leave_expectation)
    app.router.add_get("/openapi.json", handlers.api_description, expect_handler=_leave_expectation)
    app.router.add_get("/", handlers.playground, expect_handler=_leave_expectation)
    app.router.add_get("/docs", handlers.reference, expect_handler=_leave_expectation)
    app.router.add_get("/assets/{name}", handlers.asset, expect_handler=_leave_expectation)
    return app


def admin_app(service: Service) -> web.Application:
    """Return the application of the admin port, which no Service exposes."""
    app = web.Application()
    app[SERVICE] = service
    app.router.add_get("/healthz", handlers.healthz)
    app.router.add_get("/livez", handlers.livez)
    app.router.add_get("/readyz", handlers.readyz)
    app.router.add_get("/metrics", handlers.metrics)
    return app
