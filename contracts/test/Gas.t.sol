// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ITaskRegistry} from "../src/interfaces/ITaskRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {vm} from "./base/Vm.sol";

/// @dev Whole transactions: each call is isolated, so that its 21,000 and its calldata are in the figure. What ten nodes earn
/// in a batch is the case that the limit is for; fifty strangers, each with its first credit, is the worst there is.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    uint256 private constant BATCH = 50;
    uint256 private constant LIMIT = 130_000;

    function test_TenNodesWithCredit() public {
        _batch(10, 0);
        vm.assertLe(_measure("10 nodes with credit", 10, BATCH), LIMIT, "gas a task");
    }

    function test_TenNewNodes() public {
        vm.assertLe(_measure("10 new nodes", 10, 0), LIMIT, "gas a task");
    }

    function test_FiftyNewNodes() public {
        _measure("50 new nodes", BATCH, 0);
    }

    function test_FailedTasks() public {
        _open(BATCH);
        ITaskRegistry.Failure[] memory items = new ITaskRegistry.Failure[](BATCH);
        for (uint256 i = 0; i < BATCH; ++i) {
            items[i] = ITaskRegistry.Failure(_key(i), _request(i), "UPSTREAM_TIMEOUT");
        }
        vm.prank(coordinator);
        registry.fail(items);
        vm.snapshotValue("TaskRegistry", "fail 50", vm.lastCallGas().gasTotalUsed);
    }

    function _measure(string memory name, uint256 nodeCount, uint256 first) private returns (uint256 gasPerTask) {
        (uint256 opening, uint256 settling) = _batch(nodeCount, first);
        vm.snapshotValue("TaskRegistry", string.concat("open 50, ", name), opening);
        vm.snapshotValue("TaskRegistry", string.concat("settle 50, ", name), settling);
        gasPerTask = (opening + settling) / BATCH;
        vm.snapshotValue("TaskRegistry", string.concat("a task, ", name), gasPerTask);
    }

    /// @return opening Gas of the one transaction.
    /// @return settling Gas of the other.
    function _batch(uint256 nodeCount, uint256 first) private returns (uint256 opening, uint256 settling) {
        ITaskRegistry.Opening[] memory openings = new ITaskRegistry.Opening[](BATCH);
        ITaskRegistry.Settlement[] memory settlements = new ITaskRegistry.Settlement[](BATCH);
        for (uint256 i = 0; i < BATCH; ++i) {
            openings[i] = ITaskRegistry.Opening(_key(first + i), _request(first + i));
            settlements[i] = _settlement(first + i, NODE_KEY + i % nodeCount, 21 gwei);
        }
        vm.prank(coordinator);
        registry.open(openings);
        opening = vm.lastCallGas().gasTotalUsed;
        vm.prank(coordinator);
        registry.settle(settlements);
        settling = vm.lastCallGas().gasTotalUsed;
        vm.assertEq(registry.depositOf(coordinator), 10 ether - (first + BATCH) * 21 gwei);
    }
}
