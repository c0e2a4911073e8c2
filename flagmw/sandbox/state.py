"""State of one sandbox. Nothing is global."""

from __future__ import annotations

import time
from collections.abc import Callable

from flagmw.sandbox.adobe.visitors import Visitors as AdobeVisitors
from flagmw.sandbox.adobe_admin.store import TargetState
from flagmw.sandbox.contentstack.visitors import Visitors as ContentstackVisitors
from flagmw.sandbox.contentstack_admin.store import PersonalizeState
from flagmw.sandbox.faults import Faults, dice
from flagmw.sandbox.ledger import Ledger
from flagmw.sandbox.monetate_admin.store import ManagementState
from flagmw.sandbox.scenario import Scenario
from flagmw.sandbox.webtrends.cookies import KeyRing


class Sandbox:
    """The scenario, ledger, faults, cookie keys, stored visitors, random numbers and clock of one sandbox.

    Args:
        scenario: what the vendors are configured to answer.
        seed: for assignment and faults; the scenario's own seed where omitted, else random.
        clock: seconds since the epoch.
    """

    def __init__(self, scenario: Scenario, *, seed: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self.scenario = scenario
        self.clock = clock
        self.ledger = Ledger()
        self.webtrends_keys = KeyRing()
        self.contentstack_visitors = ContentstackVisitors()
        self.adobe_visitors = AdobeVisitors()
        self.monetate = ManagementState()
        self.personalize = PersonalizeState()
        self.target = TargetState()
        self._first = scenario
        self._seed = seed
        self.faults = Faults(self._effective_seed())
        self.rng = dice(self._effective_seed())
        self._register_accounts()

    def replace(self, scenario: Scenario) -> None:
        """Set another scenario; ledger and faults stay, cookies of unchanged accounts stay valid."""
        self.scenario = scenario
        self._register_accounts()

    def rotate_keys(self, domain_id: int | None = None, *, forget: bool = False) -> None:
        """Change the cookie keys of one account or of all: cookies at visitors become undecryptable.

        Args:
            domain_id: the account; all where omitted.
            forget: answer 300 for an old control cookie, as for a foreign one, instead of 104.
        """
        for account in self.scenario.webtrends:
            if domain_id in (None, account.domain_id):
                self.webtrends_keys.rotate(account, forget=forget)

    def reset(self) -> None:
        """Return to the state at the start: first scenario, empty ledger, no faults, first keys, first dice."""
        self.scenario = self._first
        self.ledger.clear()
        self.webtrends_keys.reset()
        self.contentstack_visitors = ContentstackVisitors()
        self.adobe_visitors.clear()
        self.monetate.clear()
        self.personalize.clear()
        self.target.clear()
        self.faults.reset(self._effective_seed())
        self.rng = dice(self._effective_seed())
        self._register_accounts()

    def _effective_seed(self) -> int | None:
        return self.scenario.seed if self._seed is None else self._seed

    def _register_accounts(self) -> None:
        # The key ring must have seen a token to tell its cookies from foreign ones once it is replaced.
        for account in self.scenario.webtrends:
            self.webtrends_keys.codec(account)
        self.ledger.hide(account.key_token for account in self.scenario.webtrends)
