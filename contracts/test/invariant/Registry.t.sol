// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NodeRegistry} from "../../src/NodeRegistry.sol";
import {TaskRegistry} from "../../src/TaskRegistry.sol";
import {ITaskRegistry} from "../../src/interfaces/ITaskRegistry.sol";
import {vm} from "../base/Vm.sol";
import {Handler} from "./Handler.sol";

/// @dev The law: every wei is one coordinator's deposit or one node's credit, and a task ends once.
contract RegistryInvariants {
    TaskRegistry private registry;
    Handler private handler;

    function setUp() public {
        registry = new TaskRegistry(new NodeRegistry(address(1), payable(address(2)), 1, 1));
        handler = new Handler(registry);
    }

    /// @dev Forge calls these contracts alone.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Laws that nothing happens under hold by themselves: what the handler does must reach every ending.
    function test_TheHandlerReachesEveryEnding() public {
        handler.deposit(0, 5 ether);
        handler.open(0, [uint256(0), 1, 2]);
        handler.settle(0, [uint256(0), 1, 0, 7], [uint96(1 ether), 2 ether, 1 ether, 0], 3 << 16);
        handler.fail(0, [uint256(0), 2], "CODE");
        ITaskRegistry.Status[4] memory expected = [
            ITaskRegistry.Status.Completed,
            ITaskRegistry.Status.Open, // signed by the wrong node
            ITaskRegistry.Status.Failed,
            ITaskRegistry.Status.None
        ];
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertEq(uint256(registry.statusOf(handler.taskAt(0, i))), uint256(expected[i]));
        }
        vm.assertEq(handler.credits(vm.addr(handler.nodeKey(0))), 1 ether);
        handler.force(1 ether);
        handler.withdrawCredit(0);
        handler.withdrawDeposit(0, 1 ether);
        invariant_EveryWeiHasOneOwner();
        invariant_TheBooksAgreeWithTheEvents();
        invariant_ATaskEndsOnceAndStaysAsItEnded();
    }

    function invariant_EveryWeiHasOneOwner() public view {
        uint256 owned = 0;
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            owned += registry.depositOf(handler.coordinatorAt(i)) + registry.creditOf(vm.addr(handler.nodeKey(i)));
        }
        vm.assertEq(owned + handler.forced(), address(registry).balance, "deposits + credits + forced == balance");
    }

    /// @dev A credit moves by what TaskCompleted says and by its own withdrawal, and by nothing else.
    function invariant_TheBooksAgreeWithTheEvents() public view {
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address coordinator = handler.coordinatorAt(i);
            address node = vm.addr(handler.nodeKey(i));
            vm.assertEq(registry.depositOf(coordinator), handler.deposits(coordinator), "deposit");
            vm.assertEq(registry.creditOf(node), handler.credits(node), "credit");
        }
    }

    function invariant_ATaskEndsOnceAndStaysAsItEnded() public view {
        for (uint256 i = 0; i < handler.ACTORS() * handler.TASKS(); ++i) {
            address task = handler.taskAt(i / handler.TASKS(), i);
            ITaskRegistry.Status status = registry.statusOf(task);
            bool ended = status == ITaskRegistry.Status.Completed || status == ITaskRegistry.Status.Failed;
            vm.assertEq(handler.endings(task), ended ? 1 : 0, "a task ends once");
            if (ended) vm.assertTrue(handler.outcomeOf(task) == handler.outcomes(task), "an outcome changed");
            vm.assertTrue(status == ITaskRegistry.Status.None || task.code.length != 0, "state without a contract");
        }
    }
}
