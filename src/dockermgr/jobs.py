"""The images being brought here: one thread each while there is work, what was last said of each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dockermgr.cancellation import Cancellation
from dockermgr.errors import DockermgrError, ErrorCode, Stopped
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.listing import Listing
from dockermgr.policy import PullPolicy
from dockermgr.puller import Puller
from dockermgr.reconcile import Wanted, to_request
from dockermgr.reference import Reference
from dockermgr.status import Throttle

log = logging.getLogger(__name__)

Tell = Callable[["Job", ImageUpdate], None]


class Job:
    """One wanted image. `tell` hears, on the job's thread, of each update worth sending.

    What is asked of a job is what its owner has heard of it: so whoever reports it says one thing
    after the other, and nothing before its time.
    """

    def __init__(self, wanted: Wanted, tell: Tell) -> None:
        self.wanted = wanted
        self.update = ImageUpdate(ImageState.QUEUED)
        """What was heard last."""
        self._reference: Reference | None = None
        self._tell = tell
        self._settled = False
        self._throttle = Throttle()
        self._cancellation = Cancellation()

    def start(self, puller: Puller, listing: Listing, default_policy: PullPolicy | None) -> None:
        """Begins; returns at once."""
        self._report(self.update)
        threading.Thread(
            target=self._work,
            args=(puller, listing, default_policy),
            name=f"image {self.wanted.uri[:40]}",
            daemon=True,
        ).start()

    def hear(self, update: ImageUpdate) -> None:
        """Of what was told, on the owner's thread."""
        self.update = update
        # For good: what is here and could not be checked for news is tried again while it runs.
        self._settled |= update.state in {ImageState.READY, ImageState.FAILED}

    def cancel(self) -> None:
        """Ends the work wherever it is; nothing is told any more."""
        self._cancellation.cancel()

    @property
    def reference(self) -> Reference | None:
        """What the image is called, once it is READY; None before."""
        return self._reference if self.update.state is ImageState.READY else None

    @property
    def settled(self) -> bool:
        """Nothing more to wait for."""
        return self._settled

    def _work(self, puller: Puller, listing: Listing, default_policy: PullPolicy | None) -> None:
        try:
            request = to_request(self.wanted.spec, default_policy, self.wanted.component)
            self._reference = request.reference
            puller.ensure(request, listing, self._report, self._cancellation)
        except Stopped:
            log.debug("stopped image=%s", self.wanted.uri)
        except DockermgrError as error:
            log.error("failed image=%s error=%s", self.wanted.uri, error)  # noqa: TRY400
            self._report(ImageUpdate(ImageState.FAILED, error=error))
        except Exception as error:  # a defect of ours must not take the other images along
            log.exception("failed image=%s", self.wanted.uri)
            broken = DockermgrError(
                ErrorCode.DOCKER_PULL_ERROR,
                f"dockermgr itself failed: {type(error).__name__}: {error}",
                hint="please report this with the component's log",
            )
            self._report(ImageUpdate(ImageState.FAILED, error=broken))

    def _report(self, update: ImageUpdate) -> None:
        if self._cancellation.cancelled:
            return
        if self._throttle.passes(update, time.monotonic()):
            self._tell(self, update)
