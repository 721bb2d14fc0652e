"""Django settings, a module for each concern. Every value comes from the environment.

docs/settings.md is made from the declarations and the `#:` comments above them (edgechat.local.settings_page).
All faults are reported together, so an operator fixes a deployment in one round instead of one restart for each fault.
"""

# ruff: noqa: F403

from edgechat.settings.accounts import *
from edgechat.settings.admin import *
from edgechat.settings.api import *
from edgechat.settings.apps import *
from edgechat.settings.deployment import *
from edgechat.settings.deployment import env
from edgechat.settings.files import *
from edgechat.settings.http import *
from edgechat.settings.limits import *
from edgechat.settings.model import *
from edgechat.settings.stores import *
from edgechat.settings.tokens import *

env.finish()
