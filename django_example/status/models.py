"""What the board keeps: the addresses, the checks of each, and who is checking."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from example_app.forms import MAX_LENGTH, FormError, clean_url
from example_app.models import CheckResult
from example_app.store import Snapshot


class AddressManager(models.Manager):
    """`Address.objects`: what the page shows, read by async queries."""

    async def version(self) -> str:
        """Another one whenever the addresses or their checks are others."""
        # No address gets the id of another, and a new check has a higher id than all others.
        checks = await Check.objects.aaggregate(last=models.Max("id"))
        addresses = await self.aaggregate(last=models.Max("id"), count=models.Count("id"))
        return f"{checks['last'] or 0}-{addresses['last'] or 0}-{addresses['count']}"

    async def snapshot(self, *, checks: int) -> Snapshot:
        """All addresses with the last `checks` checks of each."""
        version = await self.version()  # first: what comes in between has its own event
        newest = models.Prefetch("checks", Check.objects.order_by("-id")[:checks], to_attr="newest")
        watched = [address async for address in self.prefetch_related(newest)]
        history = {one.id: [check.result() for check in reversed(one.newest)] for one in watched}
        return Snapshot(watched, history, await Lease.objects.holder(), version)


class Address(models.Model):
    """An address on the board."""

    url = models.CharField(
        "address",
        max_length=MAX_LENGTH,
        unique=True,
        error_messages={"unique": "This address is on the board already."},
    )
    demo = models.CharField("path", max_length=50, null=True, unique=True, editable=False)

    objects = AddressManager()

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "addresses"

    def __str__(self) -> str:
        return str(self.url)

    def clean(self) -> None:
        """Bring the address into one form, so that the same one is not watched twice."""
        limit = settings.BOARD.max_urls
        if self._state.adding and Address.objects.count() >= limit:
            full = f"The board is full: it watches {limit} addresses. Remove one first."
            raise ValidationError({"url": full})
        try:
            self.url = self.url and clean_url(self.url)
        except FormError as problem:
            raise ValidationError({"url": str(problem)}) from None


class Check(models.Model):
    """What one check of one address found; see `example_app.models.CheckResult`."""

    address = models.ForeignKey(Address, models.CASCADE, related_name="checks")
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    latency_ms = models.FloatField("latency (ms)", null=True, blank=True)
    reused = models.BooleanField("connection reused")

    class Meta:
        indexes = [models.Index(fields=["address", "id"], name="checks_by_address")]

    def __str__(self) -> str:
        return f"{self.address_id} at {self.at:%H:%M:%S}: {self.error or self.status}"

    @classmethod
    def of(cls, result: CheckResult) -> "Check":
        """The row for a result, not saved yet."""
        return cls(
            address_id=result.url_id,
            at=datetime.fromtimestamp(result.at, UTC),
            status=result.status,
            error=result.error or "",
            latency_ms=result.latency_ms,
            reused=result.reused,
        )

    def result(self) -> CheckResult:
        """The row as the page shows it."""
        return CheckResult(
            self.address_id,
            self.at.timestamp(),
            self.status,
            self.error or None,
            self.latency_ms,
            self.reused,
        )


class LeaseManager(models.Manager):
    """`Lease.objects`: who does the checking, one worker process of all that share the database."""

    async def holder(self) -> str | None:
        """Whose turn it is; None if nobody checks."""
        lease = await self.filter(expires__gt=timezone.now()).afirst()
        return lease.owner if lease else None

    @transaction.atomic
    def take(self, owner: str) -> bool:
        """Take or renew the right; False when it is somebody else's."""
        now, ttl = timezone.now(), timedelta(seconds=settings.BOARD.lease_seconds)
        # A time further away than anybody would set comes from a clock that was put back.
        if self.exclude(owner=owner).filter(expires__gt=now, expires__lte=now + ttl).exists():
            return False
        self.update_or_create(name="checker", defaults={"owner": owner, "expires": now + ttl})
        return True


class Lease(models.Model):
    """The right to check: one row, which lasts until it expires or is given back."""

    name = models.CharField(max_length=20, primary_key=True)
    owner = models.CharField(max_length=50)
    expires = models.DateTimeField()

    objects = LeaseManager()

    def __str__(self) -> str:
        return f"{self.name}: {self.owner}"
