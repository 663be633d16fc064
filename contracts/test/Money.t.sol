// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ITaskRegistry} from "../src/interfaces/ITaskRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {Receipts} from "./base/Receipts.sol";
import {vm} from "./base/Vm.sol";
import {Forced, Reentrant, Refusing} from "./mocks/Reentrant.sol";

contract MoneyTest is Fixture {
    uint256 private constant OTHER_KEY = NODE_KEY + 1;

    function test_ADepositIsItsCoordinatorsAlone() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ITaskRegistry.DepositTooSmall.selector, 0, 1));
        registry.withdrawDeposit(payable(stranger), 1);
        vm.expectEmit(address(registry));
        emit ITaskRegistry.DepositWithdrawn(coordinator, stranger, 4 ether);
        vm.prank(coordinator);
        registry.withdrawDeposit(payable(stranger), 4 ether);
        vm.assertEq(stranger.balance, 4 ether);
        vm.assertEq(registry.depositOf(coordinator), 6 ether);
    }

    function test_DepositsAddUp() public {
        vm.expectEmit(address(registry));
        emit ITaskRegistry.Deposited(coordinator, 5 ether);
        vm.prank(coordinator);
        registry.deposit{value: 5 ether}();
        vm.assertEq(registry.depositOf(coordinator), 15 ether);
    }

    function test_ADepositIsNotBurntByMistake() public {
        vm.prank(coordinator);
        vm.expectRevert(ITaskRegistry.ZeroAddress.selector);
        registry.withdrawDeposit(payable(0), 1);
    }

    function test_EtherWithoutADepositIsRefused() public {
        vm.prank(coordinator);
        (bool ok,) = address(registry).call{value: 1}("");
        vm.assertFalse(ok);
    }

    function test_ForcedEtherIsNobodys() public {
        _earn(NODE_KEY, 0, 1 ether);
        new Forced{value: 3 ether}(payable(address(registry)));
        vm.assertEq(address(registry).balance, 13 ether);
        vm.assertEq(registry.depositOf(coordinator) + registry.creditOf(node), 10 ether);
    }

    function test_ANodeWithoutAProviderIsPaidItself() public {
        _earn(NODE_KEY, 0, 2 ether);
        vm.expectEmit(address(registry));
        emit ITaskRegistry.CreditWithdrawn(node, node, 2 ether);
        vm.prank(stranger);
        registry.withdrawCredit(node);
        vm.assertEq(node.balance, 2 ether);
        vm.assertEq(registry.creditOf(node), 0);
    }

    function test_ARegisteredNodesCreditGoesToItsProviderAlsoAfterTheStakeLeft() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.startPrank(provider);
        nodes.unbond(node);
        vm.warp(block.timestamp + DELAY);
        nodes.withdraw(node);
        vm.stopPrank();
        uint256 before = provider.balance;
        _earn(NODE_KEY, 0, 2 ether);
        vm.prank(node);
        registry.withdrawCredit(node);
        vm.assertEq(provider.balance, before + 2 ether);
        vm.assertEq(node.balance, 0);
    }

    function test_NothingIsPaidTwice() public {
        _earn(NODE_KEY, 0, 2 ether);
        registry.withdrawCredit(node);
        vm.expectRevert(abi.encodeWithSelector(ITaskRegistry.NothingToWithdraw.selector, node));
        registry.withdrawCredit(node);
    }

    /// @dev The provider calls back for the same credit, and for the credit of its other node: both are refused for now.
    function test_AProviderThatCallsBackGetsItsCreditOnce() public {
        Reentrant owner = _reentrantProvider();
        _earn(NODE_KEY, 0, 1 ether);
        _earn(OTHER_KEY, 1, 1 ether);
        address[2] memory wanted = [node, vm.addr(OTHER_KEY)];
        for (uint256 i = 0; i < 2; ++i) {
            owner.arm(address(registry), abi.encodeCall(ITaskRegistry.withdrawCredit, (wanted[1 - i])));
            uint256 before = address(owner).balance;
            registry.withdrawCredit(wanted[i]);
            vm.assertEq(address(owner).balance, before + 1 ether);
        }
        vm.assertEq(owner.entered(), 2);
        vm.assertEq(owner.succeeded(), 0);
        vm.assertEq(owner.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        vm.assertEq(address(registry).balance, registry.depositOf(coordinator));
    }

    /// @dev A coordinator spends its deposit from within its withdrawal: what it withdraws is gone by then.
    function test_ACoordinatorThatCallsBackSpendsWhatIsLeftAlone() public {
        Reentrant owner = new Reentrant();
        vm.deal(address(owner), 5 ether);
        owner.act(address(registry), 5 ether, abi.encodeCall(ITaskRegistry.deposit, ()));
        owner.act(address(registry), 0, abi.encodeCall(ITaskRegistry.open, (_openings(1))));
        address task = registry.taskAddress(address(owner), _key(0), _request(0));
        ITaskRegistry.Settlement[] memory items = new ITaskRegistry.Settlement[](1);
        items[0] = _settlement(0, NODE_KEY, 2 ether);
        items[0].signature = Receipts.sign(NODE_KEY, Receipts.digest(address(registry), task, items[0]));
        owner.arm(address(registry), abi.encodeCall(ITaskRegistry.settle, (items)));
        address payable back = payable(address(owner));
        owner.act(address(registry), 0, abi.encodeCall(ITaskRegistry.withdrawDeposit, (back, 4 ether)));
        vm.assertEq(owner.succeeded(), 1);
        vm.assertEq(registry.creditOf(node), 0);
        vm.assertEq(uint256(registry.statusOf(task)), uint256(ITaskRegistry.Status.Open));
        vm.assertEq(registry.depositOf(address(owner)), 1 ether);
    }

    function test_ACoordinatorThatCallsBackWithdrawsOnce() public {
        Reentrant owner = new Reentrant();
        vm.deal(address(owner), 2 ether);
        owner.act(address(registry), 2 ether, abi.encodeCall(ITaskRegistry.deposit, ()));
        bytes memory again = abi.encodeCall(ITaskRegistry.withdrawDeposit, (payable(address(owner)), 1 ether));
        owner.arm(address(registry), again);
        owner.act(address(registry), 0, again);
        vm.assertEq(owner.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        vm.assertEq(registry.depositOf(address(owner)), 1 ether);
    }

    function test_AProviderThatRefusesEtherBlocksItselfAlone() public {
        Refusing owner = new Refusing();
        bytes memory consent = Receipts.sign(NODE_KEY, Receipts.registration(address(nodes), address(owner), node));
        owner.register{value: MIN_STAKE}(nodes, node, consent);
        _earn(NODE_KEY, 0, 1 ether);
        _earn(OTHER_KEY, 1, 1 ether);
        vm.expectRevert(Refusing.NoThanks.selector);
        registry.withdrawCredit(node);
        vm.assertEq(registry.creditOf(node), 1 ether);
        registry.withdrawCredit(vm.addr(OTHER_KEY));
        vm.assertEq(vm.addr(OTHER_KEY).balance, 1 ether);
    }

    function test_AContractWithoutAReceiverCantTakeADeposit() public {
        vm.prank(coordinator);
        vm.expectRevert(Errors.FailedCall.selector);
        registry.withdrawDeposit(payable(address(nodes)), 1 ether);
        vm.assertEq(registry.depositOf(coordinator), 10 ether);
    }

    function _reentrantProvider() private returns (Reentrant owner) {
        owner = new Reentrant();
        vm.deal(address(owner), 2 * MIN_STAKE);
        _register(address(owner), NODE_KEY, MIN_STAKE);
        _register(address(owner), OTHER_KEY, MIN_STAKE);
    }

    function _earn(uint256 key, uint256 n, uint96 payment) private {
        _open(n + 1);
        _settle(_settlement(n, key, payment));
    }
}
