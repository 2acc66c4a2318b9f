from tests.app.admin.conftest import Desk
async def test_it(desk: Desk) -> None:
    import json
    print((await desk.stranger("GET", "/")).text)
    print((await desk.stranger("GET", "/admin/targets")).text)
    r = await desk.chat("failing"); print(r.status_code, dict(r.headers))
    r = await desk.chat("m", "r2"); print(r.status_code, dict(r.headers))
    import asyncio; await asyncio.sleep(.1)
    print(json.dumps(await desk.get("/admin/targets"), indent=1)[:3000])
    print(json.dumps(await desk.get("/admin/requests"), indent=1))
    print(json.dumps(await desk.get("/admin/requests/r1"), indent=1))
    print((await desk.admin("GET", "/admin/requests/r1?format=text")).text)
    print((await desk.admin("GET", "/admin/requests/r2?format=text")).text)
    print(json.dumps(await desk.get("/admin/config"), indent=1)[:2500])
    print((await desk.admin("POST", "/admin/explain", {"model":"m"})).text)
