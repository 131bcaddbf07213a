"""What is kept of an account between two lines: buckets, members, counters."""

from itertools import repeat

from quota_reference import MONTHS, WINDOWS, Package, Window


class Usage:
    """What was used in each slice of a window.

    A slice is forgotten by the watermark alone, whether or not it was dropped from memory yet, so usage in a forgotten
    slice is neither added nor found.
    """

    __slots__ = ("slices", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.slices: dict[int, int] = {}

    def at(self, t: int, watermark: int) -> int:
        last = self.window.index(t)
        first = max(last - self.window.slices + 1, self.window.first_kept(watermark))
        if first == last:
            return self.slices.get(last, 0)
        return sum(map(self.slices.get, range(first, last + 1), repeat(0)))

    def add(self, t: int, amount: int, watermark: int) -> None:
        kept, i = self.window.first_kept(watermark), self.window.index(t)
        if i < kept:
            return
        if len(self.slices) > 400:
            self.slices = {k: v for k, v in self.slices.items() if k >= kept}
        self.slices[i] = self.slices.get(i, 0) + amount


class Bucket:
    """One period of a bought package."""

    __slots__ = (
        "allocated", "allocated_before", "allowance", "anchor", "armed", "end", "fired", "id", "number", "package",
        "period", "price", "regular_end", "schedule", "used", "used_before", "used_rolled", "valid_from", "valid_to",
    )  # fmt: skip

    def __init__(self, name: str, package: Package, number: int, start: int, anchor: int, period: int) -> None:
        self.id, self.package, self.number = name, package, number
        self.anchor, self.period = anchor, period
        self.valid_from = start
        self.valid_to = self.regular_end = package.period_end(start, anchor, period + 1)
        self.end = package.period_end(self.valid_to, anchor, period + 2) if package.rolls_over else self.valid_to
        self.allowance, self.price = package.allowance, package.price
        self.used = self.used_rolled = self.allocated = 0
        # What was used and allocated when price or allowance changed last.
        self.used_before = self.allocated_before = 0
        self.armed = 0  # how many times it was armed again
        self.schedule = 0  # which of the timers set for it still count
        # Thresholds that will not fire again: the identity of a sent alert that may be corrected, else None.
        self.fired: dict[tuple[str, int], str | None] = {}

    @property
    def left(self) -> int:
        return self.allowance - self.used

    def is_rolled(self, t: int) -> bool:
        return t >= self.valid_to

    def rank(self, t: int) -> tuple[bool, bool, bool, int, int, int]:
        """The order of consumption: what comes first is used first."""
        package, rolled = self.package, self.is_rolled(t)
        end = self.end if rolled else self.valid_to
        return not package.directed, not package.gratis, not rolled, end, package.priority, self.number

    def allocation(self, used: int) -> int:
        """The revenue allocated when so much is used, not less than at the last change of price or allowance."""
        if self.allowance == self.used_before:
            return self.allocated_before
        rest, points = self.price - self.allocated_before, self.allowance - self.used_before
        return self.allocated_before + rest * (used - self.used_before) // points

    def use(self, points: int) -> int:
        """Changes what was used, and returns the revenue that this allocates."""
        self.used += points
        if self.used < self.used_before:
            self.allocated_before = self.allocated_before * self.used // self.used_before
            self.used_before = self.used
        before, self.allocated = self.allocated, self.allocation(self.used)
        return self.allocated - before

    def change(self, points: int, price: int) -> None:
        """Changes allowance and price, and nothing of what was allocated."""
        self.used_before, self.allocated_before = self.used, self.allocated
        self.allowance += points
        self.price += price


class Member:
    """The caps of one subscriber of an account.

    Usage counts from when a window's cap is set; setting it again with another limit keeps the count, removing it
    forgets it. Member caps have no thresholds of their own.
    """

    def __init__(self, caps: dict[str, int], before: "Member | None") -> None:
        kept = {usage.window.name: usage for usage, _ in before.caps} if before else {}
        self.caps = [(kept.get(name) or Usage(WINDOWS[name]), limit) for name, limit in caps.items()]

    def room(self, t: int, watermark: int) -> int:
        return max(0, min(limit - usage.at(t, watermark) for usage, limit in self.caps))

    def add(self, t: int, points: int, watermark: int) -> None:
        for usage, _ in self.caps:
            usage.add(t, points, watermark)


class Account:
    """What is kept of an account: its open buckets, counters and flags."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.region: str | None = None
        self.overflow: str | None = None  # the tariff consented to
        self.members: dict[str, Member] = {}
        self.buckets: dict[str, Bucket] = {}
        self.bought = 0
        self.caps: dict[str, dict[str, Usage]] = {}
        self.spikes: dict[str, Usage] = {}
        self.payg: dict[str, int] = {}
        self.spent: dict[str, Usage] = {}
        self.overrun = Usage(MONTHS)
        self.exhausted: tuple[int, int] | None = None
        # Alerts of packages and months that were sent or superseded, with the end of their period.
        self.fired: dict[tuple, int] = {}

    def cap_usages(self, package: Package) -> dict[str, Usage]:
        """One counter a window, all buckets of all versions of the package together."""
        if package.id not in self.caps:
            self.caps[package.id] = {name: Usage(window) for name, window in package.counted.items()}
        return self.caps[package.id]
