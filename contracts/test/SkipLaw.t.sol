// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ITaskRegistry} from "../src/interfaces/ITaskRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {bound, vm} from "./base/Vm.sol";

/// @dev The law: a batch changes what its items alone would have changed, whatever stands beside them, and never reverts.
contract SkipLawTest is Fixture {
    uint256 private constant COUNT = 12;

    /// @dev Two bits of `faults` an item: 0 good, 1 bad signature, 2 never opened, 3 repeats the item before it.
    function testFuzz_ABadItemNeverHarmsItsNeighbours(uint256 faults, bytes calldata garbage) public {
        vm.assume(garbage.length != 65);
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](COUNT);
        uint256 good = 0;
        for (uint256 i = 0; i < COUNT; ++i) {
            uint256 fault = _fault(faults, i);
            items[i] = _settlement(i, NODE_KEY, 1 gwei);
            if (fault == 0) ++good;
            else if (fault == 1) items[i].signature = garbage;
            else if (fault == 3) items[i] = items[i == 0 ? 0 : i - 1];
        }
        if (_fault(faults, 0) == 3) ++good; // the first has none before it
        _openAllBut(faults);
        vm.prank(coordinator);
        registry.settle(items);
        for (uint256 i = 0; i < COUNT; ++i) {
            bool settled = _fault(faults, i) == 0 || (i == 0 && _fault(faults, i) == 3);
            vm.assertTrue((_status(i) == ITaskRegistry.Status.Completed) == settled);
        }
        vm.assertEq(registry.creditOf(node), good * 1 gwei);
        vm.assertEq(registry.depositOf(coordinator), 10 ether - good * 1 gwei);
    }

    /// @dev Items are paid in order as far as the deposit reaches; a smaller one later still fits.
    function testFuzz_TheDepositIsSpentInOrder(uint96[COUNT] calldata payments) public {
        _open(COUNT);
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            items[i] = _settlement(i, NODE_KEY, uint96(bound(payments[i], 0, 4 ether)));
        }
        vm.prank(coordinator);
        registry.settle(items);
        uint256 left = 10 ether;
        for (uint256 i = 0; i < COUNT; ++i) {
            bool fits = items[i].payment <= left;
            if (fits) left -= items[i].payment;
            assertStatus(i, fits ? ITaskRegistry.Status.Completed : ITaskRegistry.Status.Open);
        }
        vm.assertEq(registry.depositOf(coordinator), left);
        vm.assertEq(registry.creditOf(node), 10 ether - left);
    }

    /// @dev A whole batch again, as after a lost answer to its first sending, is a batch of skips.
    function test_ARepeatedBatchChangesNothing() public {
        _open(COUNT);
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            items[i] = _settlement(i, NODE_KEY, 1 gwei);
        }
        vm.prank(coordinator);
        registry.settle(items);
        _open(COUNT);
        vm.prank(coordinator);
        registry.settle(items);
        for (uint256 i = 0; i < COUNT; ++i) {
            _fail(i, "LATE");
        }
        for (uint256 i = 0; i < COUNT; ++i) {
            assertStatus(i, ITaskRegistry.Status.Completed);
        }
        vm.assertEq(registry.creditOf(node), COUNT * 1 gwei);
    }

    function testFuzz_FailingSkipsOnlyWhatIsNotOpen(uint256 faults) public {
        _openAllBut(faults);
        ITaskRegistry.Failure[] memory items = new ITaskRegistry.Failure[](COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            items[i] = ITaskRegistry.Failure(_key(i), _request(i), bytes32(0));
        }
        vm.prank(coordinator);
        registry.fail(items);
        for (uint256 i = 0; i < COUNT; ++i) {
            assertStatus(i, _fault(faults, i) == 2 ? ITaskRegistry.Status.None : ITaskRegistry.Status.Failed);
        }
    }

    function _fault(uint256 faults, uint256 i) private pure returns (uint256) {
        return faults >> (2 * i) & 3;
    }

    function _openAllBut(uint256 faults) private {
        ITaskRegistry.Opening[] memory items = _openings(COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            if (_fault(faults, i) == 2) items[i] = ITaskRegistry.Opening(_key(COUNT + i), _request(COUNT + i));
        }
        vm.prank(coordinator);
        registry.open(items);
    }
}
