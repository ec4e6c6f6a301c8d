"""`/` and `/assets`: the dashboard, as files. What it shows comes from `/api`, under the viewer's own session."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from common.errors import NotFound
from gateway.assets import Asset, Assets
from gateway.routes.wire import takes_gzip

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, no form that is sent anywhere."""

FOR_EVER = "public, max-age=31536000, immutable"
"""For an address that carries its content's version."""

ASK_AGAIN = "no-cache"


class DashboardRoutes:
    """Serves the page, its modules and the drawing library; they hold nothing of any workspace."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self.router = APIRouter(include_in_schema=False)
        add, reading = self.router.add_api_route, ["GET", "HEAD"]
        add("/", self.page, methods=reading)
        add("/assets/charts-{version}.js", self.charts, methods=reading)
        add("/assets/{version}/{name:path}", self.file, methods=reading)

    async def page(self, request: Request) -> Response:
        """Answer the page: asked for again each time, so that it names the files of this version."""
        return await _answer(request, self._assets.start, ASK_AGAIN)

    async def charts(self, request: Request, version: str) -> Response:
        """Answer the drawing library."""
        charts = await run_in_threadpool(lambda: self._assets.charts)
        return await _answer(request, charts, _caching(version, self._assets.charts_version))

    async def file(self, request: Request, version: str, name: str) -> Response:
        """Answer a file. Of another version too, while replicas are being replaced; but that is not to be kept."""
        asset = self._assets.named(name)
        if asset is None:
            raise NotFound(f"no such path: {request.url.path}")
        return await _answer(request, asset, _caching(version, self._assets.version))


def _caching(asked: str, own: str) -> str:
    return FOR_EVER if asked == own else ASK_AGAIN


async def _answer(request: Request, asset: Asset, caching: str) -> Response:
    tag = f'"{asset.digest}"'
    headers = {"cache-control": caching, "etag": tag, "vary": "accept-encoding", "content-security-policy": POLICY}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if takes_gzip(request):
        content = await run_in_threadpool(lambda: asset.compressed)
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)
