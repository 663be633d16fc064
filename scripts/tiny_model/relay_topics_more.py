"""The rest of what the model knows about the relay, in the form of `relay_topics.py`."""

from scripts.tiny_model.relay_topics import Topic, topic

MORE_TOPICS: tuple[Topic, ...] = (
    topic(
        "result",
        "result",
        "a result|results|the result|result|a task result",
        """how do I get my result|how do I get the answer|where do I find my result|how do I poll a task
           |how can I read the result|where is my answer|how do I fetch the result of a task""",
        """The result is what the client gets. Read it at /v2/tasks with the task id, or wait for the webhook.
           |Ask /v2/tasks with your task id to read the result, or keep the call open until it returns.""",
    ),
    topic(
        "expiry",
        "24 hours",
        "expiry|result expiry|the expiry time",
        """how long are results kept|when does my result expire|how long do you keep my answer
           |do results expire|when are results deleted|how long can I read my result""",
        """Results are kept for 24 hours by default, then they expire.
           |A result can be read for 24 hours, unless the operator has set another time.""",
    ),
    topic(
        "backend",
        "backend",
        "a backend|backends|the backend|backend",
        "which model servers work|can I use vllm|can I use llama.cpp|what stands behind a node|which backends work",
        """A backend is the model server behind a node. Anything that speaks the OpenAI HTTP API will do.
           |The backend runs the model for a node. It can be vLLM, SGLang, llama.cpp, Ollama or TGI.""",
    ),
    topic(
        "slot",
        "slot",
        "a slot|slots|the slot|slot|a free slot",
        "how many tasks can a node run|what happens when no slot is free|when is a node full|what is a slot for",
        """A slot is room for one running attempt on a node. A task waits in line until a slot is free.
           |Each node has some slots. One slot runs one attempt, and the next free slot takes the next task.""",
    ),
    topic(
        "record",
        "record",
        "a record|records|the record|record|a chain record",
        """what is written on chain|how is a task recorded|which states does a record have
           |what does the chain remember""",
        """A record is the entry of a task on chain. It is pending, then sent, then confirmed.
           |The record of a task stands on chain: its hashes, its node and its payment.""",
    ),
    topic(
        "outbox",
        "outbox",
        "an outbox|the outbox|outbox|the chain outbox",
        "what waits for the chain|how are chain writes stored|what if the chain is down|why is there an outbox",
        """The outbox is what still has to reach the chain. It is durable, so nothing in it is lost.
           |Writes to the chain wait in the outbox and go out in batches, never while a client waits.""",
    ),
    topic(
        "upstream",
        "upstream",
        "an upstream|upstreams|the upstream|upstream",
        "where does direct mode send requests|what is behind direct mode|what are upstreams for",
        """An upstream is an endpoint for direct mode. The relay balances load and fails over between them.
           |An upstream is a configured model endpoint that direct mode sends requests to.""",
    ),
    topic(
        "client",
        "client",
        "a client|clients|the client|client|an api client",
        "who calls the api|who sends tasks|what does a client do|who asks for tasks",
        """A client calls the OpenAI-shaped API, sends chat requests and reads the results.
           |A client is whoever sends a task and reads its result through the API.""",
    ),
    topic(
        "states",
        "queued",
        "task states|the states of a task|the task states|the status of a task",
        """which states does a task have|is my task done|what is the status of my task|why is my task queued
           |how do I know my task is finished|what states can a task be in""",
        """A task is queued, then running, then completed or failed. Ask /v2/tasks to see where it is.
           |A task goes from queued to running and ends as completed or failed.""",
    ),
    topic(
        "failure",
        "another node",
        "failover|node failure|a lost node|a dead node",
        """what happens if a node dies|what if the node crashes|what happens when a node goes offline
           |is my task lost when a node fails|what if a worker stops|what happens if my node is killed""",
        """When a node dies its lease runs out, and the task goes to another node.
           |Nothing is lost. The lease ends after some seconds and another node gets the task.""",
    ),
    topic(
        "payment",
        "paid",
        "payment|the payment|payments|getting paid",
        """how do I get paid|who gets paid|how are nodes paid|how do providers earn money|when do I get paid
           |how do I withdraw my money|how does payment work|when is a provider paid""",
        """Nodes are paid from the coordinator's deposit when a task is settled, and withdraw it on chain.
           |A node gets paid once for each settled task. The contract credits it and the owner withdraws.""",
    ),
    topic(
        "stake",
        "stake",
        "a stake|the stake|stake|staking|a provider stake",
        "do I need a stake|what is slashing|can I lose my stake|how do I get my stake back|why is there a stake",
        """A stake is what a provider puts into the node registry. It can be slashed, or unbonded after a delay.
           |The stake of a provider backs its node. Bad behaviour can be slashed from the stake.""",
    ),
    topic(
        "run_node",
        "run a node",
        "running a node|node setup|setting up a node",
        """how do I run a node|how can I join with my gpu|how do I become a provider|how do I start a node
           |can I share my gpu|how do I add my gpu to the network|how do I set up a node""",
        """To run a node, start it next to a model server, register it with a stake and let it heartbeat.
           |You run a node beside any OpenAI-style model server. It needs a key, a stake and no open port.""",
    ),
    topic(
        "submit",
        "chat completion",
        "submitting a task|sending a task|a task request",
        """how do I submit a task|how do I send a request|how do I call the api|how do I use the relay
           |how do I start a task|how do I create a task""",
        """Post a chat completion to the API with mode set to opengpu, and you get a task id at once.
           |Send a chat completion as you would to OpenAI, and add the mode you want.""",
    ),
    topic(
        "openai",
        "OpenAI",
        "openai compatibility|the openai api|api compatibility",
        """are you openai compatible|can I use the openai client|does the openai sdk work|which api do you speak
           |is the api like openai|is this relay openai compatible""",
        """Yes, the API has the shape of the OpenAI API, so the usual clients work.
           |The relay speaks the OpenAI API. Point your OpenAI client at it and it works.""",
    ),
    topic(
        "heartbeat",
        "heartbeat",
        "a heartbeat|heartbeats|the heartbeat|heartbeat",
        "how does the coordinator know a node is alive|how are leases renewed|what do heartbeats do",
        """A heartbeat tells the coordinator that a node is alive. The reply renews leases and names cancelled work.
           |Nodes send a heartbeat with their capacity, and the reply renews the leases they hold.""",
    ),
    topic(
        "salt",
        "salt",
        "a salt|the salt|salt|salts|a task salt",
        "why is there a salt|what is the salt for|how long is the salt|how is the hash salted|where do I get the salt",
        """The salt is 32 random bytes for each task. It keeps anyone from guessing your words from a hash.
           |A salt of 32 random bytes goes in front of the bytes that are hashed.""",
    ),
    topic(
        "chain",
        "chain",
        "the chain|chain|the blockchain|blockchain|on chain",
        """why is there a chain|which chain do you use|does my request wait for the chain|is the chain slow
           |what is the chain for|do I have to wait for the blockchain""",
        """The chain keeps a record of each task. No request waits for the chain, writes go out in batches.
           |The chain is any EVM network. It holds hashes, receipts and payments, never your words.""",
    ),
    topic(
        "contract",
        "contract",
        "the contracts|a contract|smart contracts|a task contract|the registry",
        "which contracts are there|what do the contracts do|what is the node registry|what is the task registry",
        """There are two contracts that matter: the node registry for nodes and stakes, and the task registry.
           |Each task has its own small contract, which tells its status, its hashes and its payment.""",
    ),
    topic(
        "store",
        "store",
        "the store|store|a store|the task store",
        "where are tasks stored|what holds the truth|where is redis used|what keeps the tasks|what is the store for",
        """The store is the truth about every task. It is Redis, with an append-only file on disk.
           |Tasks, leases and limits live in the store, which is Redis behind atomic scripts.""",
    ),
    topic(
        "queue",
        "queue",
        "the queue|queues|a queue|a node queue|celery|the celery queue",
        "how do tasks reach a node|what is celery used for|is the queue the truth|why does each node have a queue",
        """Each node has its own queue and can reach no other. Celery carries the messages.
           |The queue is only transport. A lost or repeated message in the queue never loses a task.""",
    ),
    topic(
        "webhook",
        "webhook",
        "a webhook|webhooks|the webhook|webhook",
        "can you call me when it is done|can I be notified|how do I get notified|what are webhooks for",
        """A webhook is a call to your own address when a task has ended, so you need not poll.
           |Yes, give a webhook address and the relay calls it when the task is done.""",
    ),
    topic(
        "blame",
        "fault",
        "blame|typed blame|a fault|faults",
        "whose fault is a failure|who is to blame for an error|does a bad request count against a node",
        """Each failure is the fault of the client, the node, the capacity or the coordinator.
           |Blame is typed. A fault of the client is never retried and never counts against a node.""",
    ),
)
