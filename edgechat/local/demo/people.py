"""The people of the demo, their organizations, sessions, and what the audit log says of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.addresses import email_key
from accounts.login.passwords import normalized
from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.organizations.services import create_organization
from edgechat.local.demo.chance import dice

PASSWORD = "edgechat demo"  # noqa: S105  (for development only, and printed)
DOMAIN = "demo.example.com"


@dataclass(frozen=True)
class DemoPerson:
    """`weight`: requests on a usual working day. `joined`: days before the first run."""

    name: str
    weight: int
    joined: int
    organization: str | None = None
    role: str = Membership.Role.MEMBER
    is_staff: bool = False
    is_verified: bool = True
    is_active: bool = True

    @property
    def handle(self) -> str:
        return self.name.split()[0].lower()

    @property
    def email(self) -> str:
        return f"{self.handle}@{DOMAIN}"


HARBOUR, FJORD, LYCEUM, GREENLEAF = "Harbour Studio", "Fjord Analytics", "Lyceum Press", "Greenleaf Clinic"
OWNER, ADMIN = Membership.Role.OWNER, Membership.Role.ADMIN

PEOPLE = (
    DemoPerson("Ada Lindqvist", 46, 75, HARBOUR, OWNER),
    DemoPerson("Grace Okafor", 22, 80, is_staff=True),
    DemoPerson("Bruno Teixeira", 38, 70, HARBOUR, ADMIN),
    DemoPerson("Chiara Bellini", 29, 66, HARBOUR),
    DemoPerson("Daniel Weiss", 18, 41, HARBOUR),
    DemoPerson("Esra Yildiz", 25, 12, HARBOUR),
    DemoPerson("Farid Haddad", 60, 72, FJORD, OWNER),
    DemoPerson("Greta Solberg", 52, 68, FJORD, ADMIN),
    DemoPerson("Hiro Tanaka", 44, 55, FJORD),
    DemoPerson("Ines Moreau", 33, 47, FJORD),
    DemoPerson("Jonas Keller", 27, 30, FJORD),
    DemoPerson("Kavya Raman", 35, 9, FJORD),
    DemoPerson("Liam Byrne", 31, 64, LYCEUM, OWNER),
    DemoPerson("Marta Nowak", 40, 58, LYCEUM),
    DemoPerson("Noah Fischer", 16, 36, LYCEUM),
    DemoPerson("Olena Shevchuk", 24, 21, LYCEUM),
    DemoPerson("Priya Nair", 28, 50, GREENLEAF, OWNER),
    DemoPerson("Quentin Dubois", 19, 44, GREENLEAF, ADMIN),
    DemoPerson("Rosa Jimenez", 21, 27, GREENLEAF),
    DemoPerson("Samuel Adeyemi", 14, 62),
    DemoPerson("Tess van Dijk", 20, 33),
    DemoPerson("Umar Farouk", 11, 18, is_verified=False),
    DemoPerson("Vera Novak", 9, 5),
    DemoPerson("Willem de Boer", 12, 60, is_active=False),
)
INVITED = {HARBOUR: "zoe@partner.example.com", FJORD: "yann@partner.example.com"}
DEVICES = (
    ("Pixel 9", "EdgeChat/3.4 (Android 16)"),
    ("iPhone 17", "EdgeChat/3.4 (iOS 20)"),
    ("Firefox on Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"),
    ("Galaxy Tab", "EdgeChat/3.3 (Android 15)"),
)


@dataclass(frozen=True)
class Member:
    """A person of the demo with the account, and the organization that pays."""

    person: DemoPerson
    user: User
    organization: Organization | None


@transaction.atomic
def seed_people() -> tuple[list[Member], int]:
    """Everybody, and how many were new. Existing accounts stay as they are."""
    now = timezone.now().replace(microsecond=0)
    keys = {email_key(person.email): person for person in PEOPLE}
    known = {user.email_key: user for user in User.objects.filter(email_key__in=keys)}
    new = [person for key, person in keys.items() if key not in known]
    encoded = make_password(normalized(PASSWORD)) if new else ""
    made = User.objects.bulk_create(
        [
            User(
                email=person.email,
                full_name=person.name,
                password=encoded,
                is_active=person.is_active,
                is_staff=person.is_staff,
                is_superuser=person.is_staff,
                is_verified=person.is_verified,
            )
            for person in new
        ]
    )
    for user, person in zip(made, new, strict=True):
        user.created_at = now - timedelta(days=person.joined)
    User.objects.bulk_update(made, ["created_at"])
    known |= {user.email_key: user for user in made}
    organizations = _seed_organizations(known)
    _seed_history(made, now)
    members = [
        Member(person, known[key], organizations[person.organization] if person.organization else None)
        for key, person in keys.items()
    ]
    return members, len(made)


def _seed_organizations(users: dict[str, User]) -> dict[str, Organization]:
    organizations: dict[str, Organization] = {}
    for person in PEOPLE:
        name, user = person.organization, users[email_key(person.email)]
        if name is None:
            continue
        if person.role == OWNER:
            found = Organization.objects.filter(name=name, memberships__user=user).first()
            organizations[name] = found or create_organization(user=user, name=name).organization
            if found is None:
                Organization.objects.filter(pk=organizations[name].pk).update(created_at=user.created_at)
                if name in INVITED:
                    Membership.objects.create(
                        organization=organizations[name], invited_email=INVITED[name], invited_by=user
                    )
        else:
            Membership.objects.get_or_create(
                organization=organizations[name], user=user, defaults={"role": person.role}
            )
    return organizations


def _seed_history(users: list[User], now: datetime) -> None:
    """Sessions of new users, and their events in the audit log."""
    sessions: list[Session] = []
    events: list[tuple[datetime, AuditEvent]] = []
    for user in users:
        rng = dice("history", user.email)
        events.append((user.created_at, _event(AuditEvent.Event.REGISTERED, user, f"198.51.100.{user.pk % 250}")))
        for device, agent in rng.sample(DEVICES, rng.randint(1, 3)):
            begun = now - (now - user.created_at) * rng.uniform(0.05, 0.95)
            used = now - timedelta(minutes=rng.uniform(1, 60 * 24 * 4))
            ip = f"203.0.113.{rng.randint(2, 250)}"
            session = Session(
                user=user,
                device_name=device,
                user_agent=agent,
                ip=ip,
                expires_at=max(begun, used) + timedelta(days=30),
            )
            session.created_at, session.last_used_at = min(begun, used), max(begun, used)
            if not user.is_active:
                session.ended_at, session.end_reason = now - timedelta(days=3), "deactivated"
            sessions.append(session)
            events.append((session.created_at, _event(AuditEvent.Event.LOGIN, user, ip)))
            if rng.random() < 0.3:
                failed = session.created_at - timedelta(seconds=rng.randint(8, 90))
                events.append((failed, _event(AuditEvent.Event.LOGIN_FAILED, user, ip, by_themselves=False)))
    times = [(session.created_at, session.last_used_at) for session in sessions]
    Session.objects.bulk_create(sessions)
    for session, (created_at, last_used_at) in zip(sessions, times, strict=True):
        session.created_at, session.last_used_at = created_at, last_used_at
    Session.objects.bulk_update(sessions, ["created_at", "last_used_at"])
    events.sort(key=lambda pair: pair[0])
    stored = AuditEvent.objects.bulk_create([event for _, event in events])
    for event, (at, _) in zip(stored, events, strict=True):
        event.created_at = at
    AuditEvent.objects.bulk_update(stored, ["created_at"])


def _event(event: AuditEvent.Event, user: User, ip: str, *, by_themselves: bool = True) -> AuditEvent:
    return AuditEvent(event=event, user_id=user.pk, actor_id=user.pk if by_themselves else None, ip=ip)
