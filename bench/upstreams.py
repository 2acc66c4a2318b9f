"""The upstream as a server: nginx with Lua where it is installed, else the asyncio one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.answers import CHUNKS, EVENT, GAP_SECONDS, LAST_EVENT, PLAIN, PLAIN_PATH, STREAM_PATH
from bench.servers import DIRECT, Server, free_port

LUA_MODULES = Path("/usr/lib/nginx/modules")  # where Debian puts them
NGINX_MISSING = (
    "nginx with Lua is not installed, so a Python upstream answers (apt-get install nginx-light libnginx-mod-http-lua)"
)

# One process, no log. `return` and `print` give out canned bytes; keep-alive never ends in the middle of a round.
NGINX = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  init_by_lua_block {{
    event = [==[{event}]==]
    last_event = [==[{last_event}]==]
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = {plain_path} {{
      default_type application/json;
      return 200 '{plain}';
    }}
    location = {stream_path} {{
      content_by_lua_block {{
        ngx.req.read_body()
        ngx.header.content_type = "text/event-stream"
        for _ = 2, {chunks} do
          ngx.print(event)
          ngx.flush()
          ngx.sleep({gap})
        end
        ngx.print(last_event)
      }}
    }}
  }}
}}
"""


def nginx_binary() -> Path | None:
    """None unless its Lua module is there, too."""
    # /usr/sbin is not on everybody's PATH.
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    return Path(found) if found and (LUA_MODULES / "ngx_http_lua_module.so").exists() else None


def upstream(folder: Path) -> Server:
    port = free_port()
    binary = nginx_binary()
    if binary is None:
        return Server(DIRECT, port, (sys.executable, "-m", "bench.upstream", str(port)))
    path = folder / "nginx.conf"
    path.write_text(nginx_config(port, folder))
    return Server(DIRECT, port, (str(binary), "-c", str(path), "-p", str(folder), "-e", "stderr"))


def nginx_config(port: int, folder: Path) -> str:
    return NGINX.format(
        modules=LUA_MODULES,
        folder=folder,
        port=port,
        plain_path=PLAIN_PATH,
        stream_path=STREAM_PATH,
        plain=PLAIN.decode(),
        event=EVENT.decode(),
        last_event=LAST_EVENT.decode(),
        chunks=CHUNKS,
        gap=GAP_SECONDS,
    )
