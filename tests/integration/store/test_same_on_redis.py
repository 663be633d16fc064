"""Every promise of tests/unit/store, kept by the real server as by the fake."""

from tests.unit.store.test_affinity import *  # noqa: F403
from tests.unit.store.test_blame import *  # noqa: F403
from tests.unit.store.test_breaker import *  # noqa: F403
from tests.unit.store.test_direct import *  # noqa: F403
from tests.unit.store.test_idempotency import *  # noqa: F403
from tests.unit.store.test_keybook import *  # noqa: F403
from tests.unit.store.test_lines import *  # noqa: F403
from tests.unit.store.test_mine import *  # noqa: F403
from tests.unit.store.test_money import *  # noqa: F403
from tests.unit.store.test_nodes import *  # noqa: F403
from tests.unit.store.test_stages import *  # noqa: F403
from tests.unit.store.test_stakes import *  # noqa: F403
from tests.unit.store.test_standing import *  # noqa: F403
from tests.unit.store.test_tasks import *  # noqa: F403
from tests.unit.store.test_time import *  # noqa: F403
from tests.unit.store.test_webhooks import *  # noqa: F403
