// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ITask} from "../src/interfaces/ITask.sol";
import {ITaskRegistry} from "../src/interfaces/ITaskRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {Receipts} from "./base/Receipts.sol";
import {bound, vm} from "./base/Vm.sol";

contract SettleTest is Fixture {
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    function setUp() public override {
        super.setUp();
        _open(2);
    }

    function test_ASettledTaskNamesItsNodeAnswerAndPayment() public {
        ITaskRegistry.Settlement memory item = _settlement(0, NODE_KEY, 3 ether);
        vm.expectEmit(address(registry));
        emit ITaskRegistry.TaskCompleted(_task(0), node, item.responseHash, 3 ether, 1200, 345);
        _settle(item);
        ITask task = ITask(_task(0));
        vm.assertEq(uint256(task.status()), uint256(ITaskRegistry.Status.Completed));
        vm.assertEq(task.responseHash(), item.responseHash);
        vm.assertEq(task.failureCode(), bytes32(0));
        vm.assertEq(task.node(), node);
        vm.assertEq(task.payment(), 3 ether);
        vm.assertEq(registry.creditOf(node), 3 ether);
        vm.assertEq(registry.depositOf(coordinator), 7 ether);
    }

    function test_AFreeTaskIsSettledWithoutADeposit() public {
        vm.prank(coordinator);
        registry.withdrawDeposit(payable(coordinator), 10 ether);
        _settle(_settlement(0, NODE_KEY, 0));
        assertStatus(0, ITaskRegistry.Status.Completed);
    }

    function test_ATaskIsSettledOnceAlsoWithinOneBatch() public {
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](2);
        items[0] = _settlement(0, NODE_KEY, 1 ether);
        items[1] = _settlement(0, NODE_KEY + 1, 1 ether);
        expectSkip(_task(0), ITaskRegistry.SkipReason.AlreadySettled);
        vm.prank(coordinator);
        registry.settle(items);
        vm.assertEq(registry.creditOf(node), 1 ether);
        vm.assertEq(registry.creditOf(vm.addr(NODE_KEY + 1)), 0);
    }

    function test_AFailedTaskNamesItsCode() public {
        bytes32 code = "UPSTREAM_TIMEOUT";
        vm.expectEmit(address(registry));
        emit ITaskRegistry.TaskFailed(_task(0), code);
        _fail(0, code);
        ITask task = ITask(_task(0));
        vm.assertEq(uint256(task.status()), uint256(ITaskRegistry.Status.Failed));
        vm.assertEq(task.failureCode(), code);
        vm.assertEq(task.responseHash(), bytes32(0));
        vm.assertEq(task.node(), address(0));
    }

    function test_FailedAndCompletedAreBothFinal() public {
        _fail(0, "ONE");
        skips(_settlement(0, NODE_KEY, 1), ITaskRegistry.SkipReason.AlreadySettled);
        _settle(_settlement(1, NODE_KEY, 1));
        expectSkip(_task(1), ITaskRegistry.SkipReason.AlreadySettled);
        _fail(1, "TWO");
        assertStatus(0, ITaskRegistry.Status.Failed);
        assertStatus(1, ITaskRegistry.Status.Completed);
    }

    function test_ATaskThatWasNeverOpenedIsSkipped() public {
        skips(_settlement(7, NODE_KEY, 1), ITaskRegistry.SkipReason.NotOpen);
        expectSkip(_task(7), ITaskRegistry.SkipReason.NotOpen);
        _fail(7, "NEVER");
    }

    function test_AnotherCoordinatorReachesOnlyItsOwn() public {
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](1);
        items[0] = _settlement(0, NODE_KEY, 0);
        expectSkip(registry.taskAddress(stranger, _key(0), _request(0)), ITaskRegistry.SkipReason.NotOpen);
        vm.prank(stranger);
        registry.settle(items);
        assertStatus(0, ITaskRegistry.Status.Open);
    }

    function test_TheDepositMustCoverThePayment() public {
        skips(_settlement(0, NODE_KEY, 10 ether + 1), ITaskRegistry.SkipReason.InsufficientDeposit);
        _settle(_settlement(0, NODE_KEY, 10 ether));
        vm.assertEq(registry.depositOf(coordinator), 0);
        skips(_settlement(1, NODE_KEY, 1), ITaskRegistry.SkipReason.InsufficientDeposit);
    }

    /// @dev What would lose bits in its 88 is skipped, whatever the deposit.
    function test_APaymentAboveItsWidthIsSkipped() public {
        uint256 huge = uint256(type(uint96).max);
        vm.deal(coordinator, huge);
        vm.prank(coordinator);
        registry.deposit{value: huge}();
        skips(_settlement(0, NODE_KEY, uint96(type(uint88).max) + 1), ITaskRegistry.SkipReason.InsufficientDeposit);
        _settle(_settlement(0, NODE_KEY, type(uint88).max));
        vm.assertEq(ITask(_task(0)).payment(), type(uint88).max);
    }

    function test_ASignatureOfAnyOtherLengthIsBad() public {
        ITaskRegistry.Settlement memory item = _settlement(0, NODE_KEY, 1);
        bytes memory good = item.signature;
        for (uint256 length = 0; length <= 130; ++length) {
            if (length == 65) continue;
            item.signature = new bytes(length);
            for (uint256 i = 0; i < length && i < 65; ++i) {
                item.signature[i] = good[i];
            }
            skips(item, ITaskRegistry.SkipReason.BadSignature);
        }
        item.signature = good;
        _settle(item);
        assertStatus(0, ITaskRegistry.Status.Completed);
    }

    function test_AMalleatedSignatureIsBad() public {
        ITaskRegistry.Settlement memory item = _settlement(0, NODE_KEY, 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(NODE_KEY, Receipts.digest(address(registry), _task(0), item));
        item.signature = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        skips(item, ITaskRegistry.SkipReason.BadSignature);
    }

    /// @dev ecrecover answers the zero address for a signature of nobody; that must not settle for a zero node.
    function testFuzz_AZeroNodeIsBad(bytes32 r, bytes32 s, uint8 v) public {
        ITaskRegistry.Settlement memory item = _settlement(0, NODE_KEY, 1);
        item.node = address(0);
        item.signature = abi.encodePacked(r, s, v);
        skips(item, ITaskRegistry.SkipReason.BadSignature);
    }

    /// @dev Everything that the node signed is bound: change any one field and the signature no longer holds.
    function testFuzz_AnyChangedFieldIsBad(uint8 field, uint256 change) public {
        ITaskRegistry.Settlement memory item = _settlement(0, NODE_KEY, 1);
        field = uint8(bound(field, 0, 6));
        uint32 small = uint32(bound(change, 1, type(uint32).max));
        if (field == 0) item.responseHash ^= bytes32(bound(change, 1, type(uint256).max));
        else if (field == 1) item.node = address(uint160(item.node) ^ small);
        else if (field == 2) item.attempt ^= small;
        else if (field == 3) item.promptTokens ^= small;
        else if (field == 4) item.completionTokens ^= small;
        else if (field == 5) item.startedAt ^= small;
        else item.finishedAt ^= small;
        skips(item, ITaskRegistry.SkipReason.BadSignature);
    }

    function test_AReceiptHoldsForItsTaskChainAndContractAlone() public {
        ITaskRegistry.Settlement memory item = _settlement(1, NODE_KEY, 1);
        item.signature = _settlement(0, NODE_KEY, 1).signature;
        skips(item, ITaskRegistry.SkipReason.BadSignature);
        item.signature = Receipts.sign(NODE_KEY, Receipts.digest(address(nodes), _task(1), item));
        skips(item, ITaskRegistry.SkipReason.BadSignature);
        item = _settlement(1, NODE_KEY, 1);
        vm.chainId(block.chainid + 1);
        skips(item, ITaskRegistry.SkipReason.BadSignature);
    }

    function test_TheDigestIsTheOneOfEthAccount() public {
        string memory golden = vm.readFile("test/golden/receipt.json");
        address place = vm.parseJsonAddress(golden, ".registry");
        vm.chainId(vm.parseJsonUint(golden, ".chainId"));
        vm.etch(place, address(registry).code);
        bytes32 digest = ITaskRegistry(place)
            .receiptDigest(
                vm.parseJsonAddress(golden, ".task"),
                uint32(vm.parseJsonUint(golden, ".attempt")),
                vm.parseJsonBytes32(golden, ".requestHash"),
                vm.parseJsonBytes32(golden, ".responseHash"),
                uint32(vm.parseJsonUint(golden, ".promptTokens")),
                uint32(vm.parseJsonUint(golden, ".completionTokens")),
                uint64(vm.parseJsonUint(golden, ".startedAt")),
                uint64(vm.parseJsonUint(golden, ".finishedAt"))
            );
        vm.assertEq(digest, vm.parseJsonBytes32(golden, ".digest"));
        bytes memory signature = Receipts.sign(vm.parseJsonUint(golden, ".nodeKey"), digest);
        vm.assertEq(signature, vm.parseJsonBytes(golden, ".signature"));
    }

    /// @dev Settling `item` is skipped for `reason` and moves no money.
    function skips(ITaskRegistry.Settlement memory item, ITaskRegistry.SkipReason reason) private {
        uint256 before = registry.depositOf(coordinator);
        uint256 credit = registry.creditOf(item.node);
        expectSkip(registry.taskAddress(coordinator, item.taskKey, item.requestHash), reason);
        _settle(item);
        vm.assertEq(registry.depositOf(coordinator), before);
        vm.assertEq(registry.creditOf(item.node), credit);
    }
}
