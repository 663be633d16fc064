"""The real parts do what the design leans on: what was answered is on disk, whatever is killed."""

from __future__ import annotations

from tests.parts.network import eventually
from tests.parts.servers import Anvil, RedisServer


def test_redis_keeps_what_it_answered(redis_server: RedisServer) -> None:
    redis_server.command_line("SET", "a", "1")
    redis_server.command_line("ACL", "SETUSER", "node-x", "on", ">secret", "~x*", "+get")
    redis_server.command_line("ACL", "SAVE")
    redis_server.kill()
    redis_server.start()
    assert redis_server.command_line("GET", "a") == b"$1\r\n1\r\n"
    assert b"node-x" in redis_server.command_line("ACL", "LIST")


def test_redis_refuses_strangers(redis_server: RedisServer) -> None:
    redis_server.redis = type(redis_server.redis)(redis_server.redis.home, redis_server.redis.port, "wrong")
    assert not redis_server.redis.answers()


def test_a_saved_chain_survives_kill(anvil: Anvil) -> None:
    _, address = anvil.funded_account()
    anvil.rpc("anvil_impersonateAccount", address)
    sent = anvil.rpc("eth_sendTransaction", {"from": address, "to": "0x" + "22" * 20, "value": "0x1"})
    eventually(lambda: anvil.rpc("eth_getTransactionReceipt", sent), what="the transaction")
    anvil.save()
    anvil.kill()
    anvil.start()
    receipt = anvil.rpc("eth_getTransactionReceipt", sent)
    assert isinstance(receipt, dict)
    assert receipt["blockNumber"] == "0x1"


def test_the_chain_has_no_account_that_everybody_knows(anvil: Anvil) -> None:
    assert anvil.rpc("eth_accounts") == []
    assert anvil.rpc("eth_getBalance", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "latest") == "0x0"
