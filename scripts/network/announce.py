"""What scripts/up tells its user once all is ready: what listens where, the client's key, and something to paste."""

from __future__ import annotations

from typing import Any

from scripts.network.relay import MODEL

TEXT = """
The relay is up.

  API             {base_url}          (docs: {base_url}/docs)
  OpenAI SDK      {base_url}/v2/openai/v1
  client key      {api_key}  (unlimited)
  superkey        {superkey}  (makes and revokes keys: /v2/customer/keys)
  chain           {rpc_url}  (chain id {chain_id})
  TaskRegistry    {task_registry}
  NodeRegistry    {node_registry}
  Redis           127.0.0.1:{redis_port}  (password in {state}/keys/redis.password)
  nodes           {nodes}
  state and logs  {state}, {state}/logs; everything a tool needs: {state}/up.json

curl:

  curl {base_url}/v2/openai/v1/chat/completions \\
    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "mode": "opengpu", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

Python, with the OpenAI SDK:

  from openai import OpenAI
  client = OpenAI(base_url="{base_url}/v2/openai/v1", api_key="{api_key}")
  answer = client.chat.completions.create(
      model="{model}", messages=[{{"role": "user", "content": "Hello!"}}], extra_body={{"mode": "opengpu"}}
  )
  print(answer.choices[0].message.content, answer.task_address)
"""


def announcement(up: dict[str, Any]) -> str:
    return TEXT.format(
        **{key: up[key] for key in ("base_url", "api_key", "superkey", "rpc_url", "chain_id", "state")},
        task_registry=up["contracts"]["TaskRegistry"],
        node_registry=up["contracts"]["NodeRegistry"],
        redis_port=up["redis_url"].rsplit(":", 1)[1].split("/")[0],
        nodes=len(up["pids"]["nodes"]),
        model=MODEL,
    )
