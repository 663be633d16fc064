// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NodeRegistry} from "../../src/NodeRegistry.sol";
import {TaskRegistry} from "../../src/TaskRegistry.sol";
import {ITaskRegistry} from "../../src/interfaces/ITaskRegistry.sol";
import {Receipts} from "./Receipts.sol";
import {vm} from "./Vm.sol";

/// @dev Both registries, a coordinator with ten ether of deposit, and one node.
abstract contract Fixture {
    uint256 internal constant NODE_KEY = 0xA11CE;
    uint256 internal constant MIN_STAKE = 1 ether;
    uint64 internal constant DELAY = 7 days;

    address internal immutable node = vm.addr(NODE_KEY);
    address internal constant coordinator = address(0xC0);
    address internal constant stranger = address(0x57);
    address internal constant provider = address(0x990);
    address internal constant admin = address(0xAD);
    address payable internal constant treasury = payable(address(0x7EA));

    NodeRegistry internal nodes;
    TaskRegistry internal registry;

    function setUp() public virtual {
        nodes = new NodeRegistry(admin, treasury, MIN_STAKE, DELAY);
        registry = new TaskRegistry(nodes);
        vm.deal(coordinator, 100 ether);
        vm.deal(provider, 100 ether);
        vm.prank(coordinator);
        registry.deposit{value: 10 ether}();
    }

    function _key(uint256 n) internal pure returns (bytes32) {
        return keccak256(abi.encode("task", n));
    }

    function _request(uint256 n) internal pure returns (bytes32) {
        return keccak256(abi.encode("request", n));
    }

    function _task(uint256 n) internal view returns (address) {
        return registry.taskAddress(coordinator, _key(n), _request(n));
    }

    function _openings(uint256 count) internal pure returns (ITaskRegistry.Opening[] memory items) {
        items = new ITaskRegistry.Opening[](count);
        for (uint256 i = 0; i < count; ++i) {
            items[i] = ITaskRegistry.Opening(_key(i), _request(i));
        }
    }

    function _open(uint256 count) internal {
        vm.prank(coordinator);
        registry.open(_openings(count));
    }

    function _settle(ITaskRegistry.Settlement memory item) internal {
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](1);
        items[0] = item;
        vm.prank(coordinator);
        registry.settle(items);
    }

    function _fail(uint256 n, bytes32 code) internal {
        ITaskRegistry.Failure[] memory items = new ITaskRegistry.Failure[](1);
        items[0] = ITaskRegistry.Failure(_key(n), _request(n), code);
        vm.prank(coordinator);
        registry.fail(items);
    }

    /// @dev Task `n`, answered and signed by the holder of `key`.
    function _settlement(uint256 n, uint256 key, uint96 payment)
        internal
        view
        returns (ITaskRegistry.Settlement memory item)
    {
        item.taskKey = _key(n);
        item.requestHash = _request(n);
        item.responseHash = keccak256(abi.encode("response", n));
        item.node = vm.addr(key);
        item.attempt = 1;
        item.promptTokens = 1200;
        item.completionTokens = 345;
        item.startedAt = 1_790_000_000_000;
        item.finishedAt = 1_790_000_001_500;
        item.payment = payment;
        item.signature = _signed(item, key);
    }

    function _signed(ITaskRegistry.Settlement memory item, uint256 key) internal view returns (bytes memory) {
        address task = registry.taskAddress(coordinator, item.taskKey, item.requestHash);
        return Receipts.sign(key, Receipts.digest(address(registry), task, item));
    }

    function _register(address owner, uint256 key, uint256 stake) internal {
        address registered = vm.addr(key);
        bytes memory consent = Receipts.sign(key, Receipts.registration(address(nodes), owner, registered));
        vm.prank(owner);
        nodes.register{value: stake}(registered, consent);
    }

    function _status(uint256 n) internal view returns (ITaskRegistry.Status) {
        return registry.statusOf(_task(n));
    }

    function assertStatus(uint256 n, ITaskRegistry.Status expected) internal view {
        vm.assertEq(uint256(_status(n)), uint256(expected));
    }

    function expectSkip(address task, ITaskRegistry.SkipReason reason) internal {
        vm.expectEmit(address(registry));
        emit ITaskRegistry.ItemSkipped(task, reason);
    }
}
