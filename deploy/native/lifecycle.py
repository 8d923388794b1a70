"""Start, stop and restart of the stack without Docker."""

import dataclasses
import json
import os
import subprocess
from urllib.parse import urlsplit

from app import envfile
from app.settings import Settings, load
from deploy import given
from deploy.native import parts, ports, supervisor
from deploy.native.choose import RedisServer, Stack, choose, wants_own_redis
from deploy.native.health import health
from deploy.native.places import GIVEN, LOGS, NGINX_PID, PYTHON, ROOT, STACK
from deploy.native.ready import Trouble, Waiting
from deploy.native.say import fail, say
from deploy.native.small import proposals


def settle(started: dict[str, str]) -> tuple[Settings, dict[str, given.Setting]]:
    """The settings in force: the shell's, else those of `.env`, else `started`; in the environment from
    now.
    """
    try:
        found = given.gather(os.environ, envfile.read(".env"), started)
    except ValueError as error:
        fail(f"Wrong setting: {error}", 2)
    os.environ.update({name: setting.value for name, setting in found.items()})
    return load(), found


def start() -> None:
    """Brings the stack up and returns when all answer; running already is fine."""
    if supervisor.running():
        say("It runs already (make restart to load changes)")
        summary(read_stack())
        return
    settings, found = settle({})
    supervisor.shut_down(5)  # what a supervisor that died has left behind
    with ports.one_stack_at_a_time():
        stack = choose(settings)
        supervisor.write_config(stack)
        parts.write(stack, settings)
        given.save_json(ROOT / GIVEN, found)
        (ROOT / STACK).write_text(json.dumps(dataclasses.asdict(stack), indent=2))
        logged = log_size()
        supervisor.launch(stack)
    trouble = wait_for_all(stack, settings)
    if trouble:
        supervisor.shut_down(stack.grace + 30)
        fail(str(trouble))
    tell_repairs(logged)
    for name, value in proposals(settings).items():
        say(f"{name}={value}, for a model on the processor of this machine (set it in .env to change it)")
    summary(stack)


def wait_for_all(stack: Stack, settings: Settings) -> Trouble | None:
    """Redis, each backend, then Nginx, which nobody can reach before."""
    waiting = Waiting(stack, settings)
    if trouble := waiting.redis():
        return trouble
    for name in stack.names:
        if trouble := waiting.backend(name):
            return trouble
    if stack.nginx:
        supervisor.begin("nginx")
    return waiting.public()


def tell_repairs(since: int) -> None:
    """What deploy/redis.sh did to the file before Redis read it; `since`: where its log ended before."""
    log = ROOT / LOGS / "redis.log"
    if log.exists():
        for line in log.read_bytes()[since:].decode(errors="replace").splitlines():
            if line.startswith("data: "):
                say(f"Redis    {line}")


def log_size() -> int:
    """Where the log of Redis ends."""
    log = ROOT / LOGS / "redis.log"
    return log.stat().st_size if log.exists() else 0


def read_stack() -> Stack:
    """What `start` has chosen."""
    if not (ROOT / STACK).exists() or not supervisor.running():
        if supervisor.ours():
            fail("Its supervisor has died, and what is left of it runs on alone: make start, or make stop")
        fail("Nothing runs: make start")
    values = json.loads((ROOT / STACK).read_text())
    values["redis"] = RedisServer(**values["redis"]) if values["redis"] else None
    return Stack(**values)


def summary(stack: Stack) -> None:
    """The address, the provider, a line to chat and one to stop."""
    environment = parts.environment_of("backend-1")
    hosts = [host.strip() for host in environment.get("ALLOWED_HOSTS", "").split(",")]
    about = health(stack.backends[0], hosts[0])
    command = ["sh", "deploy/summary.sh", str(stack.http_port), about.get("provider", "?")]
    command.append(about.get("model") or "?")
    keyed = "yes" if environment.get("API_KEYS") else "no"
    more = {"KEYED": keyed, "BIND": stack.bind, "BASE_PATH": environment.get("BASE_PATH", "")}
    subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, check=False)


def stop() -> None:
    """Ends what was started here, and nothing else. Running replies may end first."""
    if not supervisor.running() and not supervisor.ours():
        say("Nothing runs")
        return
    grace = read_stack().grace if supervisor.running() else 0
    say(f"Stopping (running replies have {grace:.0f} s to end)")
    supervisor.shut_down(grace + 45)
    say("Stopped; chats stay in data/")


def restart() -> None:
    """One backend after the other: it lets its replies end while the others serve."""
    stack = read_stack()
    before = given.load(ROOT / GIVEN)
    settings, found = settle(given.remembered(before))
    can_start(stack, settings)  # what is wrong is said before anything is stopped
    for line in given.changes(before, found):
        say(line)
    for line in what_stays(stack, settings):
        say(line)
    parts.write(stack, settings)
    given.save_json(ROOT / GIVEN, found)
    waiting = Waiting(stack, settings)
    for name in stack.names:
        say(f"{name} ends its replies and starts again")
        supervisor.end(name)
        waiting.forget(name)
        supervisor.begin(name)
        if trouble := waiting.backend(name):
            fail(f"{trouble}; the others go on")
    reload_nginx(stack, settings)
    summary(stack)


def can_start(stack: Stack, settings: Settings) -> None:
    """Ends the command when a backend could not be made of these settings and files, or not reach Redis."""
    environment = parts.make(stack, settings)["backend-1"]["environment"]
    urls = parts.environment_of("backend-1").get("REDIS_URL", ""), environment.get("REDIS_URL", "")
    if stack.redis and len({urlsplit(url).password for url in urls}) > 1:
        fail("REDIS_PASSWORD is the one of Redis too, which a restart leaves running: make stop start", 2)
    command = [str(PYTHON), "-m", "app", "check"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        fail(lines[-1] if lines else "The app does not start", 2)


def what_stays(stack: Stack, settings: Settings) -> list[str]:
    """What a restart cannot change, for it would be an outage."""
    lines = []
    if "http_port" in settings.model_fields_set and settings.http_port != stack.http_port:
        lines.append(f"The port stays {stack.http_port} until make stop start")
    if settings.http_bind != stack.bind:
        lines.append("HTTP_BIND stays as it was until make stop start")
    if wants_own_redis(settings) != (stack.redis is not None):
        lines.append("Redis stays the same until make stop start")
    if not stack.nginx:
        lines.append("With one backend a restart is a short outage (make doctor says what to install)")
    return lines


def reload_nginx(stack: Stack, settings: Settings) -> None:
    """Only when files or settings have changed: a reload closes idle connections, which may just be used."""
    if not stack.nginx:
        return
    rendered = ROOT / NGINX_PID.with_name("nginx.conf")
    before = rendered.read_text() if rendered.exists() else ""
    newer = any(path.stat().st_mtime > rendered.stat().st_mtime for path in (ROOT / "nginx").iterdir())
    environment = {**os.environ, **parts.nginx_environment(stack, settings)}
    subprocess.run(["sh", "nginx/start.sh", "--render"], cwd=ROOT, env=environment, check=True)
    if newer or rendered.read_text() != before:
        say("nginx reads its changed files")
        supervisor.rpc().signalProcess("nginx", "HUP")
