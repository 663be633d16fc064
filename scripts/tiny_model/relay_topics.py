"""What the model knows about the relay: names, whole questions and answers, one entry a topic.

`names` are put into the definition frames of `phrasing.py`; `questions` are asked as they stand; the last question of
each topic is held out of the training text, so the evaluation asks something the model has never read.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One thing to know. `keyword` must stand in every answer: it is how the evaluation recognises the topic."""

    key: str
    keyword: str
    names: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


def topic(key: str, keyword: str, names: str, questions: str, answers: str) -> Topic:
    return Topic(key, keyword, _split(names), _split(questions), _split(answers))


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("|") if part.strip())


TOPICS: tuple[Topic, ...] = (
    topic(
        "relay",
        "relay",
        "the relay|this relay|opengpu relay|opengpu-relay|an opengpu relay|opengpu|the project",
        """what does the relay do|what does this relay do|what is this service|what am I talking to here
           |how does the relay work|how does opengpu work|how does this all work|what is this relay good for
           |what does opengpu do""",
        """The relay is an API that hands your chat requests to independent GPU nodes and brings the answers back.
           |The relay takes a request, gives it to a GPU node, checks the signed report and returns the result.""",
    ),
    topic(
        "task",
        "task",
        "a task|tasks|the task|task|a relay task|an opengpu task",
        """what counts as a task|what is meant by task here|what happens to my task
           |what do you call a request here|tell me what a task means in the relay""",
        """A task is what a client asked for: one chat completion that the relay stores and gives to a node.
           |A task is one request of a client. It is stored first, then a node runs it, then its result is kept.""",
    ),
    topic(
        "node",
        "node",
        "a node|nodes|the node|node|a gpu node|a worker node|a relay node",
        """what does a node do|what do nodes do|who does the inference|where does the model run
           |which machine answers my request|what is the job of a node""",
        """A node is a running worker process next to a model server. It takes work from its own queue and reports.
           |A node is the worker that runs inference and posts a signed report to the coordinator.""",
    ),
    topic(
        "provider",
        "provider",
        "a provider|providers|the provider|provider|a gpu provider|gpu providers",
        """who owns a node|who runs the nodes|who are the providers|who owns the gpus|what does a provider do
           |to whom does a node belong""",
        """A provider is the owner of a node. The provider puts up a stake and gets paid for the work.
           |A provider owns a node, runs it next to a model server and gets paid for finished tasks.""",
    ),
    topic(
        "coordinator",
        "coordinator",
        "a coordinator|the coordinator|coordinator|coordinators",
        """what does the coordinator do|who chooses the node|who runs the api|who keeps the tasks
           |what is the job of the coordinator|what part does the coordinator play""",
        """The coordinator runs the API, the queue and the chain writer. It stores tasks and chooses nodes.
           |The coordinator accepts tasks, chooses a node for each one and checks the reports.""",
    ),
    topic(
        "receipt",
        "receipt",
        "a receipt|receipts|the receipt|receipt|a node receipt|a signed receipt",
        """what is in a receipt|what does a receipt say|what does the node sign|what is a receipt for
           |why do I get a receipt""",
        """A receipt is typed data signed by the node. It holds the task address, the hashes and the token counts.
           |A receipt is the signed part of a report: task address, attempt, hashes, token counts and times.""",
    ),
    topic(
        "address",
        "address",
        "a task address|the task address|task address|task_address|task addresses",
        """how is the task address computed|where is the contract of a task|when is the task address known
           |why does my task have an address|where on chain is my task|how do I get the address of a task""",
        """A task address is where the contract of a task stands on chain. It is known when the task is submitted.
           |The task address is computed with CREATE2, so you know it before any transaction is sent.""",
    ),
    topic(
        "lease",
        "lease",
        "a lease|leases|the lease|lease|a node lease",
        """how long is a lease|how long may a node keep an attempt|what happens when a lease is lost
           |who renews a lease|why are there leases|how long does a lease last""",
        """A lease is the time-limited right of a node to an attempt. Heartbeats renew the lease.
           |A lease lets a node keep an attempt for ten seconds by default, and each heartbeat renews it.""",
    ),
    topic(
        "opengpu_mode",
        "opengpu mode",
        "opengpu mode|the opengpu mode|mode opengpu|the mode opengpu",
        """what does mode opengpu do|how does opengpu mode work|when should I use opengpu mode
           |what happens in opengpu mode|how do I use opengpu mode""",
        """In opengpu mode your request becomes a task. A node runs it and the result gets a record on chain.
           |In opengpu mode the relay gives your task to an independent node and records it on chain.""",
    ),
    topic(
        "direct_mode",
        "direct mode",
        "direct mode|the direct mode|mode direct|the mode direct",
        """what does mode direct do|how does direct mode work|when should I use direct mode
           |what happens in direct mode|how do I use direct mode""",
        """In direct mode the relay passes your request to a configured upstream and streams the answer back.
           |In direct mode no node and no chain take part. The request goes straight to an upstream.""",
    ),
    topic(
        "modes",
        "modes",
        "the modes|the two modes|relay modes|both modes",
        """which modes are there|what modes do you have|what is the difference between opengpu mode and direct mode
           |should I use direct mode or opengpu mode|how many modes are there
           |how does direct mode differ from opengpu mode""",
        """There are two modes: opengpu gives the task to a node and records it, direct goes to an upstream.
           |The two modes are opengpu, with nodes and a chain record, and direct, straight to an upstream.""",
    ),
    topic(
        "check",
        "hash",
        "checking a result|result checking|verification|verifying a result",
        """how do I check a result|how can I verify an answer|how do I know the result is real
           |can I check the answer myself|how do I prove what the node answered|how do I verify a result
           |how can I check my answer on chain|how do I check that a result is genuine""",
        """Hash the salt and the exact bytes with keccak-256, then compare the hash with the record on chain.
           |Take the salt, hash the bytes of the answer and compare that hash with the receipt and the chain.""",
    ),
    topic(
        "privacy",
        "salted hashes",
        "privacy|prompt privacy|my privacy|data privacy",
        """is my prompt private|who can read my prompt|are my words secret|is my prompt put on chain
           |what goes on chain|do you log my prompts|are my messages private|is my data safe
           |can other people see my prompt|does my prompt stay private""",
        """Only salted hashes go on chain. Your words stay with the coordinator and the node that runs the task.
           |Your prompt is never logged. The chain gets salted hashes, and only the chosen node reads the words.""",
    ),
    topic(
        "attempt",
        "attempt",
        "an attempt|attempts|the attempt|attempt|a task attempt",
        """how many attempts are there|how often is a task tried|how many times will you retry
           |what happens when an attempt fails|how many attempts does a task get""",
        """An attempt is one task given to one node once. There are at most three attempts for a task.
           |An attempt gives a task to one node. If it is lost, another node may get the next attempt.""",
    ),
    topic(
        "envelope",
        "envelope",
        "an envelope|envelopes|the envelope|envelope",
        "what is in the queue of a node|what does a node receive|what does the coordinator send to a node",
        """An envelope is the message that carries a task to a node, through the queue of that node.
           |The envelope is what the coordinator sends to a node. It waits in the node's own queue.""",
    ),
    topic(
        "report",
        "report",
        "a report|reports|the report|report|a node report",
        "what does a node send back|how does a node answer|what happens when a node is done|what does a node post",
        """A report is what a node sends back. It is signed, and exactly one report is accepted for a task.
           |A report carries the answer of a node and its receipt. Late or foreign reports change nothing.""",
    ),
)
