// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TaskRegistry} from "../../src/TaskRegistry.sol";
import {ITaskRegistry} from "../../src/interfaces/ITaskRegistry.sol";
import {Receipts} from "../base/Receipts.sol";
import {Vm, bound, vm} from "../base/Vm.sol";
import {Forced} from "../mocks/Reentrant.sol";

/// @dev Three coordinators, three nodes and eight tasks each, in any order, with good and bad items. Beside the registry it
/// keeps the books by what the events say, so that events and state are held to each other.
contract Handler {
    uint256 public constant ACTORS = 3;
    uint256 public constant TASKS = 8;

    TaskRegistry public immutable registry;

    uint256 public forced;
    mapping(address coordinator => uint256) public deposits;
    mapping(address node => uint256) public credits;
    mapping(address task => uint256) public endings;
    mapping(address task => bytes32) public outcomes;

    constructor(TaskRegistry registry_) {
        registry = registry_;
    }

    function coordinatorAt(uint256 i) public pure returns (address) {
        return address(uint160(0xC000 + i % ACTORS));
    }

    function nodeKey(uint256 i) public pure returns (uint256) {
        return 0xA11CE + i % ACTORS;
    }

    function taskAt(uint256 who, uint256 n) public view returns (address) {
        return registry.taskAddress(coordinatorAt(who), bytes32(n % TASKS), bytes32(n % TASKS));
    }

    function deposit(uint256 who, uint256 amount) external {
        address coordinator = coordinatorAt(who);
        amount = bound(amount, 0, 10 ether);
        vm.deal(coordinator, amount);
        vm.prank(coordinator);
        registry.deposit{value: amount}();
        deposits[coordinator] += amount;
    }

    function withdrawDeposit(uint256 who, uint256 amount) external {
        address coordinator = coordinatorAt(who);
        amount = bound(amount, 0, deposits[coordinator]);
        vm.prank(coordinator);
        registry.withdrawDeposit(payable(coordinator), amount);
        deposits[coordinator] -= amount;
    }

    function withdrawCredit(uint256 i) external {
        address node = vm.addr(nodeKey(i));
        if (credits[node] == 0) return;
        uint256 before = node.balance;
        registry.withdrawCredit(node);
        vm.assertEq(node.balance - before, credits[node], "a node is paid what it earned");
        credits[node] = 0;
    }

    function force(uint256 amount) external {
        amount = bound(amount, 0, 1 ether);
        vm.deal(address(this), amount);
        new Forced{value: amount}(payable(address(registry)));
        forced += amount;
    }

    function open(uint256 who, uint256[3] calldata which) external {
        ITaskRegistry.Opening[] memory items = new ITaskRegistry.Opening[](which.length);
        for (uint256 i = 0; i < which.length; ++i) {
            items[i] = ITaskRegistry.Opening(bytes32(which[i] % TASKS), bytes32(which[i] % TASKS));
        }
        vm.prank(coordinatorAt(who));
        registry.open(items);
    }

    function settle(uint256 who, uint256[4] calldata which, uint96[4] calldata payments, uint256 seed) external {
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](which.length);
        for (uint256 i = 0; i < which.length; ++i) {
            items[i] = _settlement(who, which[i], seed >> (16 * i), uint96(bound(payments[i], 0, 5 ether)));
        }
        vm.recordLogs();
        vm.prank(coordinatorAt(who));
        registry.settle(items);
        _book(coordinatorAt(who));
    }

    function fail(uint256 who, uint256[2] calldata which, bytes32 code) external {
        ITaskRegistry.Failure[] memory items = new ITaskRegistry.Failure[](which.length);
        for (uint256 i = 0; i < which.length; ++i) {
            items[i] = ITaskRegistry.Failure(bytes32(which[i] % TASKS), bytes32(which[i] % TASKS), code);
        }
        vm.recordLogs();
        vm.prank(coordinatorAt(who));
        registry.fail(items);
        _book(coordinatorAt(who));
    }

    /// @dev One settlement in four is signed by the wrong node.
    function _settlement(uint256 who, uint256 n, uint256 seed, uint96 payment)
        private
        view
        returns (ITaskRegistry.Settlement memory item)
    {
        item.taskKey = bytes32(n % TASKS);
        item.requestHash = bytes32(n % TASKS);
        item.responseHash = keccak256(abi.encode(n, seed));
        item.node = vm.addr(nodeKey(seed));
        item.attempt = uint32(seed);
        item.payment = payment;
        uint256 signer = nodeKey(seed % 4 == 3 ? seed % ACTORS + 1 : seed);
        item.signature = Receipts.sign(signer, Receipts.digest(address(registry), taskAt(who, n), item));
    }

    /// @dev What the last call's events say happened.
    function _book(address coordinator) private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 kind = logs[i].topics[0];
            if (kind == ITaskRegistry.ItemSkipped.selector) continue;
            address task = address(uint160(uint256(logs[i].topics[1])));
            ++endings[task];
            outcomes[task] = outcomeOf(task);
            if (kind == ITaskRegistry.TaskFailed.selector) continue;
            (, uint96 payment,,) = abi.decode(logs[i].data, (bytes32, uint96, uint32, uint32));
            deposits[coordinator] -= payment;
            credits[address(uint160(uint256(logs[i].topics[2])))] += payment;
        }
    }

    /// @dev All that the registry says of a task, in one word.
    function outcomeOf(address task) public view returns (bytes32) {
        return keccak256(
            abi.encode(
                registry.statusOf(task),
                registry.responseHashOf(task),
                registry.failureCodeOf(task),
                registry.nodeOf(task),
                registry.paymentOf(task)
            )
        );
    }
}
