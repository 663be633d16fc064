// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {Fixture} from "./base/Fixture.sol";
import {Receipts} from "./base/Receipts.sol";
import {bound, vm} from "./base/Vm.sol";
import {Reentrant} from "./mocks/Reentrant.sol";

contract NodeRegistryTest is Fixture {
    address private constant slasher = address(0x51A);

    function setUp() public override {
        super.setUp();
        bytes32 role = nodes.SLASHER_ROLE();
        vm.prank(admin);
        nodes.grantRole(role, slasher);
        vm.deal(stranger, 100 ether);
    }

    function test_ARegisteredNodeIsActiveAndItsProvidersOwn() public {
        vm.expectEmit(address(nodes));
        emit INodeRegistry.NodeRegistered(node, provider, 2 ether);
        _register(provider, NODE_KEY, 2 ether);
        vm.assertEq(nodes.providerOf(node), provider);
        vm.assertEq(nodes.stakeOf(node), 2 ether);
        vm.assertEq(nodes.unbondsAt(node), 0);
        vm.assertTrue(nodes.isActive(node));
        vm.assertFalse(nodes.isActive(stranger));
    }

    function test_TheDigestIsThatOfTheStandard() public view {
        vm.assertEq(nodes.registrationDigest(provider, node), Receipts.registration(address(nodes), provider, node));
    }

    function testFuzz_LessThanTheLeastStakeIsRefused(uint256 stake) public {
        stake = bound(stake, 0, MIN_STAKE - 1);
        bytes memory consent = _consent(provider);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StakeTooSmall.selector, stake, MIN_STAKE));
        nodes.register{value: stake}(node, consent);
    }

    function test_ANodeConsentsToOneProvider() public {
        bytes memory consent = _consent(provider);
        vm.prank(stranger);
        vm.expectRevert(INodeRegistry.BadNodeSignature.selector);
        nodes.register{value: MIN_STAKE}(node, consent);
    }

    function testFuzz_GarbageIsNoConsent(address whose, bytes calldata consent) public {
        vm.prank(provider);
        vm.expectRevert(INodeRegistry.BadNodeSignature.selector);
        nodes.register{value: MIN_STAKE}(whose, consent);
    }

    /// @dev A signature of nobody recovers to the zero address, which must not pass for its consent.
    function test_TheZeroAddressConsentsToNothing() public {
        vm.prank(provider);
        vm.expectRevert(INodeRegistry.BadNodeSignature.selector);
        nodes.register{value: MIN_STAKE}(address(0), new bytes(65));
    }

    function test_ANodeIsRegisteredOnceAndNeverByAnother() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        _refuses(provider);
        _refuses(stranger);
        _leave();
        _refuses(stranger);
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.assertTrue(nodes.isActive(node));
    }

    function test_OnlyTheProviderTouchesTheStake() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        address[2] memory others = [stranger, node];
        vm.deal(node, 1 ether);
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory reason = abi.encodeWithSelector(INodeRegistry.NotProvider.selector, node, others[i]);
            vm.startPrank(others[i]);
            vm.expectRevert(reason);
            nodes.addStake{value: 1}(node);
            vm.expectRevert(reason);
            nodes.unbond(node);
            vm.expectRevert(reason);
            nodes.withdraw(node);
            vm.stopPrank();
        }
    }

    function test_AStakeLeavesAfterTheDelayAndNotBefore() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        uint256 before = provider.balance;
        vm.startPrank(provider);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StillBonded.selector, node, 0));
        nodes.withdraw(node);
        uint64 end = uint64(block.timestamp) + DELAY;
        vm.expectEmit(address(nodes));
        emit INodeRegistry.NodeUnbonding(node, end);
        nodes.unbond(node);
        vm.assertFalse(nodes.isActive(node));
        vm.assertEq(nodes.unbondsAt(node), end);
        vm.warp(end - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StillBonded.selector, node, end));
        nodes.withdraw(node);
        vm.warp(end);
        vm.expectEmit(address(nodes));
        emit INodeRegistry.StakeWithdrawn(node, provider, MIN_STAKE);
        nodes.withdraw(node);
        vm.stopPrank();
        vm.assertEq(provider.balance, before + MIN_STAKE);
        vm.assertEq(nodes.stakeOf(node), 0);
        vm.assertEq(nodes.providerOf(node), provider);
        vm.assertFalse(nodes.isActive(node));
    }

    function test_AnUnbondingStakeIsLeftAlone() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.startPrank(provider);
        nodes.unbond(node);
        bytes memory reason =
            abi.encodeWithSelector(INodeRegistry.AlreadyUnbonding.selector, node, nodes.unbondsAt(node));
        vm.expectRevert(reason);
        nodes.unbond(node);
        vm.expectRevert(reason);
        nodes.addStake{value: 1 ether}(node);
    }

    function test_NothingIsUnbondedFromNothing() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        _leave();
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NoStake.selector, node));
        nodes.unbond(node);
    }

    function testFuzz_ASlashedStakeGoesToTheTreasury(uint256 amount, bool unbonding) public {
        _register(provider, NODE_KEY, 3 ether);
        if (unbonding) {
            vm.prank(provider);
            nodes.unbond(node);
            vm.warp(block.timestamp + DELAY);
        }
        amount = bound(amount, 0, 3 ether);
        vm.expectEmit(address(nodes));
        emit INodeRegistry.NodeSlashed(node, slasher, amount, "FORGED_RECEIPT");
        vm.prank(slasher);
        nodes.slash(node, amount, "FORGED_RECEIPT");
        vm.assertEq(treasury.balance, amount);
        vm.assertEq(nodes.stakeOf(node), 3 ether - amount);
        vm.assertTrue(nodes.isActive(node) == (!unbonding && 3 ether - amount >= MIN_STAKE));
        vm.assertEq(address(nodes).balance, 3 ether - amount);
    }

    function test_AStakeSlashedToNothingStillEndsItsUnbonding() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.prank(provider);
        nodes.unbond(node);
        vm.prank(slasher);
        nodes.slash(node, MIN_STAKE, "GONE");
        bytes memory consent = _consent(provider);
        bytes memory reason =
            abi.encodeWithSelector(INodeRegistry.AlreadyUnbonding.selector, node, nodes.unbondsAt(node));
        vm.prank(provider);
        vm.expectRevert(reason);
        nodes.register{value: MIN_STAKE}(node, consent);
        vm.warp(block.timestamp + DELAY);
        vm.prank(provider);
        nodes.withdraw(node);
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.assertTrue(nodes.isActive(node));
    }

    function test_ASlashedNodeIsActiveAgainOnceToppedUp() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        vm.prank(slasher);
        nodes.slash(node, 1, "LATE");
        vm.assertFalse(nodes.isActive(node));
        vm.expectEmit(address(nodes));
        emit INodeRegistry.StakeAdded(node, 1, MIN_STAKE);
        vm.prank(provider);
        nodes.addStake{value: 1}(node);
        vm.assertTrue(nodes.isActive(node));
    }

    function test_OnlySlashersSlashAndNoMoreThanThereIs() public {
        _register(provider, NODE_KEY, MIN_STAKE);
        bytes32 role = nodes.SLASHER_ROLE();
        vm.prank(admin);
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, role));
        nodes.slash(node, 1, "");
        vm.prank(slasher);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.SlashTooLarge.selector, MIN_STAKE, MIN_STAKE + 1));
        nodes.slash(node, MIN_STAKE + 1, "");
    }

    function test_AProviderThatCallsBackWithdrawsOneStake() public {
        Reentrant owner = new Reentrant();
        vm.deal(address(owner), 2 * MIN_STAKE);
        _register(address(owner), NODE_KEY, MIN_STAKE);
        _register(address(owner), NODE_KEY + 1, MIN_STAKE);
        address other = vm.addr(NODE_KEY + 1);
        owner.act(address(nodes), 0, abi.encodeCall(INodeRegistry.unbond, (node)));
        owner.act(address(nodes), 0, abi.encodeCall(INodeRegistry.unbond, (other)));
        vm.warp(block.timestamp + DELAY);
        owner.arm(address(nodes), abi.encodeCall(INodeRegistry.withdraw, (other)));
        owner.act(address(nodes), 0, abi.encodeCall(INodeRegistry.withdraw, (node)));
        vm.assertEq(owner.entered(), 1);
        vm.assertEq(owner.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        vm.assertEq(address(nodes).balance, MIN_STAKE);
        vm.assertEq(nodes.stakeOf(other), MIN_STAKE);
    }

    /// @dev A treasury that may slash and calls back is still paid once for each call from outside.
    function test_ATreasuryThatCallsBackIsPaidOnce() public {
        Reentrant owner = new Reentrant();
        nodes = new NodeRegistry(address(owner), payable(address(owner)), MIN_STAKE, DELAY);
        bytes32 role = nodes.SLASHER_ROLE();
        owner.act(address(nodes), 0, abi.encodeCall(IAccessControl.grantRole, (role, address(owner))));
        _register(provider, NODE_KEY, MIN_STAKE);
        bytes memory slash = abi.encodeCall(INodeRegistry.slash, (node, 0.4 ether, "TWICE"));
        owner.arm(address(nodes), slash);
        owner.act(address(nodes), 0, slash);
        vm.assertEq(owner.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        vm.assertEq(nodes.stakeOf(node), 0.6 ether);
    }

    function test_WhatIsFixedAtConstructionMustMakeSense() public {
        vm.expectRevert(INodeRegistry.ZeroAddress.selector);
        new NodeRegistry(address(0), treasury, 1, 0);
        vm.expectRevert(INodeRegistry.ZeroAddress.selector);
        new NodeRegistry(admin, payable(0), 1, 0);
        vm.expectRevert(INodeRegistry.ZeroMinStake.selector);
        new NodeRegistry(admin, treasury, 0, 0);
        vm.assertEq(nodes.minStake(), MIN_STAKE);
        vm.assertEq(nodes.unbondingDelay(), DELAY);
        vm.assertEq(nodes.treasury(), treasury);
    }

    function _consent(address owner) private view returns (bytes memory) {
        return Receipts.sign(NODE_KEY, Receipts.registration(address(nodes), owner, node));
    }

    function _refuses(address owner) private {
        bytes memory consent = _consent(owner);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NodeTaken.selector, node, provider));
        nodes.register{value: MIN_STAKE}(node, consent);
    }

    function _leave() private {
        vm.startPrank(provider);
        nodes.unbond(node);
        vm.warp(block.timestamp + DELAY);
        nodes.withdraw(node);
        vm.stopPrank();
    }
}
