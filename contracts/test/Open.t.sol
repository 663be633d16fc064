// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {TaskRegistry} from "../src/TaskRegistry.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {ITaskRegistry} from "../src/interfaces/ITaskRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {vm} from "./base/Vm.sol";

contract OpenTest is Fixture {
    function test_AnOpenTaskAnswersForItself() public {
        _open(1);
        ITask task = ITask(_task(0));
        vm.assertEq(uint256(task.status()), uint256(ITaskRegistry.Status.Open));
        vm.assertEq(task.taskId(), _key(0));
        vm.assertEq(task.requestHash(), _request(0));
        vm.assertEq(task.responseHash(), bytes32(0));
        vm.assertEq(task.failureCode(), bytes32(0));
        vm.assertEq(task.node(), address(0));
        vm.assertEq(task.payment(), 0);
        vm.assertEq(address(task.registry()), address(registry));
    }

    function test_OpeningEmitsTheTaskAndItsCoordinator() public {
        vm.expectEmit(address(registry));
        emit ITaskRegistry.TaskOpened(_task(0), coordinator, _key(0), _request(0));
        _open(1);
    }

    /// @dev EIP-1014 and EIP-1167 written out: whoever knows the three values and two addresses finds the task.
    function testFuzz_TheAddressFollowsFromTheStandards(address owner, bytes32 key, bytes32 request) public {
        bytes memory code = abi.encodePacked(
            hex"61006d3d81600a3d39f3363d3d373d3d3d363d73",
            registry.implementation(),
            hex"5af43d82803e903d91602b57fd5bf3",
            key,
            request
        );
        bytes32 salt = keccak256(abi.encode(owner, key));
        bytes32 hash = keccak256(abi.encodePacked(hex"ff", address(registry), salt, keccak256(code)));
        address predicted = address(uint160(uint256(hash)));
        vm.assertEq(registry.taskAddress(owner, key, request), predicted);
        vm.assertEq(uint256(registry.statusOf(predicted)), uint256(ITaskRegistry.Status.None));

        ITaskRegistry.Opening[] memory items = new ITaskRegistry.Opening[](1);
        items[0] = ITaskRegistry.Opening(key, request);
        vm.prank(owner);
        registry.open(items);
        vm.assertEq(uint256(ITask(predicted).status()), uint256(ITaskRegistry.Status.Open));
        vm.assertEq(ITask(predicted).taskId(), key);
    }

    function testFuzz_TheAddressIsTheOneOfOpenZeppelin(address owner, bytes32 key, bytes32 request) public view {
        address predicted = Clones.predictDeterministicAddressWithImmutableArgs(
            registry.implementation(),
            abi.encodePacked(key, request),
            keccak256(abi.encode(owner, key)),
            address(registry)
        );
        vm.assertEq(registry.taskAddress(owner, key, request), predicted);
    }

    function test_ARepeatIsSkippedInTheSameBatchAndLater() public {
        ITaskRegistry.Opening[] memory items = _openings(2);
        items[1] = items[0];
        expectSkip(_task(0), ITaskRegistry.SkipReason.AlreadyOpen);
        vm.prank(coordinator);
        registry.open(items);
        expectSkip(_task(0), ITaskRegistry.SkipReason.AlreadyOpen);
        _open(1);
    }

    function test_ASettledTaskIsNotOpenedAgain() public {
        _open(1);
        _settle(_settlement(0, NODE_KEY, 1));
        expectSkip(_task(0), ITaskRegistry.SkipReason.AlreadyOpen);
        _open(1);
        assertStatus(0, ITaskRegistry.Status.Completed);
    }

    function test_EtherAtATasksFutureAddressDoesNotStopIt() public {
        vm.deal(_task(0), 1 ether);
        _open(1);
        assertStatus(0, ITaskRegistry.Status.Open);
    }

    function test_TwoCoordinatorsShareNothing() public {
        _open(1);
        vm.prank(stranger);
        registry.open(_openings(1));
        address other = registry.taskAddress(stranger, _key(0), _request(0));
        vm.assertTrue(other != _task(0));
        vm.assertEq(uint256(registry.statusOf(other)), uint256(ITaskRegistry.Status.Open));
    }

    function test_OnlyClonesOfTasksAreTasks() public view {
        vm.assertEq(uint256(registry.statusOf(address(registry))), uint256(ITaskRegistry.Status.None));
        vm.assertEq(uint256(registry.statusOf(registry.implementation())), uint256(ITaskRegistry.Status.None));
        vm.assertEq(uint256(registry.statusOf(stranger)), uint256(ITaskRegistry.Status.None));
    }

    function test_ACloneOfSomethingElseIsNoTask() public {
        address fake = Clones.cloneWithImmutableArgs(address(nodes), abi.encodePacked(_key(0), _request(0)));
        vm.assertEq(uint256(registry.statusOf(fake)), uint256(ITaskRegistry.Status.None));
    }

    /// @dev What ITask warns of: it reads as open, and nothing can ever complete or fail it.
    function test_ALookAlikeStaysOpenForEver() public {
        address fake = Clones.cloneWithImmutableArgs(registry.implementation(), abi.encodePacked(_key(0), _request(0)));
        vm.assertEq(uint256(ITask(fake).status()), uint256(ITaskRegistry.Status.Open));
        _open(1);
        _settle(_settlement(0, NODE_KEY, 1));
        vm.assertEq(uint256(ITask(fake).status()), uint256(ITaskRegistry.Status.Open));
        vm.assertTrue(fake != _task(0));
    }

    function test_AnEmptyBatchIsNothing() public {
        _open(0);
        vm.recordLogs();
        registry.settle(new ITaskRegistry.Settlement[](0));
        registry.fail(new ITaskRegistry.Failure[](0));
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_TheNodeRegistryMustBeAContract() public {
        vm.expectRevert(abi.encodeWithSelector(ITaskRegistry.NotAContract.selector, stranger));
        new TaskRegistry(INodeRegistry(stranger));
    }
}
