"""A nucleus that deploys: several components, in order, with restarts, upgrades and what comes of failures.

    with Deployer(core) as nucleus:
        outcome = nucleus.deploy(Part(manager, artifacts, {"images": []}), Part(dependent))
        nucleus.wait_for("com.example.App", State.FINISHED)
        print(nucleus.transcript.text())

What both nuclei do is in `life.py`, for one component, and here, for all of them:
- Java stops what a deployment changes, then installs and starts it; HARD dependents are stopped and
  started with it. BROKEN fails the deployment, and the former one comes back, with its configuration.
- Lite installs while the old version runs, then stops that (and with it, by `BindsTo`, HARD
  dependents) and starts all that does not run. It installs and starts anew what a deployment merges
  configuration into. A deployment that fails leaves everything as it is then.

What it does not do: find versions (it takes those it is given, and checks the requirements),
download, unpack archives, change the user (all run as root), `bootstrap`, `uninstall`, `SkipIf`,
limits of resources, restarts of the nucleus, groups that share a device, or hold back merges for
components that are only dependencies. It does not forget failures after an hour. On Lite it does not
sleep the 5 s that ggdeploymentd does, does not take a failed `startup` without `exec` for ready, and
makes no unit file: whether systemd takes that is not seen here.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tests.sandbox.core import TES, Core, InstalledComponent
from tests.sandbox.ipc import Dialect
from tests.sandbox.life import Life
from tests.sandbox.nucleus.states import UP, Limits, State
from tests.sandbox.processes import SandboxError
from tests.sandbox.recipes import dependencies, read_recipe, satisfies
from tests.sandbox.transcript import Transcript

_BUILT_IN = {TES: "2.0.3", "aws.greengrass.Nucleus": "2.18.0"}
"""Of each device here."""

_STEP_SECONDS = 0.02
_WAIT_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a deployment; `merge` updates its configuration."""

    recipe: Path
    artifacts: Path | None = None
    merge: Mapping[str, Any] = field(default_factory=dict)


class Outcome(str, Enum):
    """How a deployment ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ROLLED_BACK = "FAILED, rolled back"


class Deployer:
    """The nucleus of a core. A context manager; at its end everything is stopped, dependents first."""

    def __init__(self, core: Core, limits: Limits | None = None) -> None:
        self.core = core
        self.transcript = Transcript()
        self._is_lite = core.dialect is Dialect.LITE
        self._limits = limits or Limits()
        self._deployments = ThreadPoolExecutor(1, thread_name_prefix="sandbox-deployment")
        self._lives: dict[str, Life] = {}
        self._incoming: dict[str, Life] = {}
        self._reports_seen = len(core.ipc.states)
        self._lock = threading.RLock()
        self._closing = False
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox-nucleus", daemon=True)

    def __enter__(self) -> Deployer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._closing = True
            self._thread.join()
            self._deployments.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Stops all components, dependents first, as a nucleus that is stopped."""
        self._end(self._lives)

    def life(self, name: str) -> Life:
        """A component that is deployed."""
        return self._lives[name]

    def wait_for(self, name: str, state: State, *, count: int = 1) -> None:
        """Returns when a component has been in a state so many times. Raises SandboxError."""
        self.wait_until(
            lambda: self.transcript.states_of(name).count(state) >= count,
            f"{name} {state.value}, {count} times",
        )

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Returns when it holds. Raises SandboxError, with the transcript."""
        if not self._wait(condition, _WAIT_SECONDS):
            raise SandboxError(f"not within {_WAIT_SECONDS:g} s: {what}\n{self.transcript.text()}")

    def begin(self, *parts: Part) -> Future[Outcome]:
        """A deployment; returns at once."""
        return self._deployments.submit(self.deploy, *parts)

    def deploy(self, *parts: Part) -> Outcome:
        """Brings the device to this deployment; returns when that is settled."""
        recipes = {item["ComponentName"]: item for item in (read_recipe(p.recipe) for p in parts)}
        versions = {name: str(recipe["ComponentVersion"]) for name, recipe in recipes.items()}
        named = ", ".join(f"{name} {version}" for name, version in versions.items())
        self._say(f"begins: {named}")
        if missing := self._unmet(recipes, versions):
            return self._end_deployment(Outcome.FAILED, missing)
        former = {name: life.component for name, life in self._lives.items()}
        configurations = {name: self.core.configuration(name) for name in recipes}
        wanted: dict[str, InstalledComponent] = {}
        changed = set()
        for name, part in zip(recipes, parts, strict=True):
            wanted[name] = self.core.install(part.recipe, part.artifacts, merge=part.merge)
            if self._is_changed(wanted[name], merges=bool(part.merge)):
                changed.add(name)
        failure = self._bring(wanted, changed)
        if not failure:
            self._remove_artifacts(versions)
            return self._end_deployment(Outcome.SUCCEEDED)
        if self._is_lite:
            return self._end_deployment(Outcome.FAILED, failure)
        self._say(f"rolls back: {failure}")
        for name in former.keys() & configurations.keys():
            self.core.restore(name, configurations[name])
        failure = self._bring(former, changed)
        return self._end_deployment(Outcome.FAILED if failure else Outcome.ROLLED_BACK, failure)

    def _end_deployment(self, outcome: Outcome, why: str = "") -> Outcome:
        self._say(f"{outcome.value}{': ' if why else ''}{why}")
        return outcome

    def _say(self, what: str) -> None:
        self.transcript.add("deployment", what)

    def _unmet(self, recipes: Mapping[str, Mapping[str, Any]], versions: Mapping[str, str]) -> str:
        there = {**_BUILT_IN, **versions}
        for name, recipe in recipes.items():
            for needed, item in dependencies(recipe, self.core.dialect).items():
                version = there.get(needed)
                if version is None or not satisfies(version, item.requirement, self.core.dialect):
                    return f"no version of {needed} for {name}, which wants {item.requirement}"
        return ""

    def _is_changed(self, component: InstalledComponent, *, merges: bool) -> bool:
        life = self._lives.get(component.name)
        if life is None or life.component != component or life.state is State.BROKEN:
            return True
        return self._is_lite and (merges or life.state not in UP)

    def _bring(self, wanted: Mapping[str, InstalledComponent], changed: set[str]) -> str:
        """Makes the device so; why it did not come to that, or nothing."""
        fresh = {
            name: self._life(component)
            for name, component in wanted.items()
            if name in changed or name not in self._lives
        }
        if self._is_lite and (failure := self._install(fresh)):
            return failure
        self._end(name for name in self._lives if name not in wanted)
        leaving = [self._lives[name] for name in fresh if name in self._lives]
        with self._lock:
            for life in leaving:
                life.end()
        self._wait(lambda: all(life.gone for life in leaving))
        with self._lock:
            self._incoming = {}
            self._lives.update(fresh)
            if self._is_lite:
                for life in self._lives.values():
                    life.start_again()
        return self._settle()

    def _install(self, fresh: Mapping[str, Life]) -> str:
        """Lite: the installs, while the old versions run."""
        self._incoming = dict(fresh)
        for name, life in fresh.items():
            self._wait_state(life, (State.INSTALLED, State.BROKEN), self._limits.settle_seconds)
            if life.state is not State.INSTALLED:
                with self._lock:
                    for each in fresh.values():
                        each.end()
                self._wait(lambda: all(each.gone for each in fresh.values()))
                self._incoming = {}
                return f"{name} is not installed"
        return ""

    def _settle(self) -> str:
        """Waits until all are up: Lite for one after the other, Java for any to break."""
        lives = dict(self._lives)
        if self._is_lite:
            for name, life in lives.items():
                self._wait_state(life, (*UP, State.BROKEN), self._limits.settle_seconds)
                if life.state not in UP:
                    return f"{name} is {life.state.value}"
            return ""
        self._wait(
            lambda: (
                any(life.state is State.BROKEN for life in lives.values())
                or all(life.state in UP for life in lives.values())
            )
        )
        broken = [name for name, life in lives.items() if life.state is State.BROKEN]
        return f"{', '.join(broken)} is BROKEN" if broken else ""

    def _end(self, names: Iterable[str]) -> None:
        """Ends components, those first that nothing depends on."""
        left = set(names)
        while left:
            needed = {name for each in left for name in self._lives[each].hard}
            now = left - needed
            if not now:
                raise SandboxError(f"these depend on each other: {sorted(left)}")
            with self._lock:
                for name in now:
                    self._lives[name].end()
            for name in now:
                self._wait_state(self._lives[name], (State.STOPPED,))
                with self._lock:
                    del self._lives[name]
            left -= now

    def _remove_artifacts(self, versions: Mapping[str, str]) -> None:
        """Both nuclei remove what no deployment needs any more."""
        for name, version in versions.items():
            for folder in (self.core.root / "packages" / "artifacts" / name).iterdir():
                if folder.name != version:
                    shutil.rmtree(folder)

    def _life(self, component: InstalledComponent) -> Life:
        def may_start() -> bool:
            if self._lives.get(component.name) is not life:
                return False  # on Lite the old one runs until this is installed
            hard = [name for name in life.hard if name not in _BUILT_IN]
            return all(name in self._lives and self._lives[name].state in UP for name in hard)

        life = Life(self.core, component, self._limits, may_start, self.transcript.add)
        return life

    def _run(self) -> None:
        try:
            while not self._closing:
                with self._lock:
                    self._pass()
                time.sleep(_STEP_SECONDS)
        except BaseException as error:
            self._problem = error
            raise

    def _pass(self) -> None:
        reports: dict[str, list[str]] = {}
        states = self.core.ipc.states
        for name, state in states[self._reports_seen :]:
            reports.setdefault(name, []).append(state)
        self._reports_seen = len(states)
        for name, life in [*self._lives.items(), *self._incoming.items()]:
            before = life.state
            life.step(reports.pop(name, ()))
            if before is State.RUNNING and life.state not in UP:
                for other in self._lives.values():
                    if name in other.hard:
                        other.dependency_left()

    def _wait_state(
        self, life: Life, states: Sequence[State], seconds: float = float("inf")
    ) -> None:
        self._wait(lambda: life.state in states, seconds)

    def _wait(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._problem is not None or self._closing:
                raise SandboxError("the nucleus has failed") from self._problem
            if time.monotonic() > deadline:
                return False
            time.sleep(_STEP_SECONDS)
        return True
