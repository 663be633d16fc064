// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";

/// @title See INodeRegistry
/// @dev Every wei here is somebody's stake, but for what is forced in. The least stake, the delay and the treasury are fixed at
/// construction, so that no admin can change what a provider agreed to.
contract NodeRegistry is INodeRegistry, AccessControl, EIP712, ReentrancyGuardTransient {
    struct Node {
        address provider;
        uint64 unbondsAt;
        uint256 stake;
    }

    /// @notice May slash. Granted by the admin after construction.
    bytes32 public constant SLASHER_ROLE = keccak256("SLASHER_ROLE");

    bytes32 private constant REGISTRATION_TYPEHASH = keccak256("Registration(address provider,address node)");

    /// @inheritdoc INodeRegistry
    address payable public immutable treasury;

    /// @inheritdoc INodeRegistry
    uint256 public immutable minStake;

    /// @inheritdoc INodeRegistry
    uint64 public immutable unbondingDelay;

    mapping(address node => Node) private _nodes;

    modifier onlyProvider(address node) {
        if (_nodes[node].provider != msg.sender) revert NotProvider(node, msg.sender);
        _;
    }

    constructor(address admin, address payable treasury_, uint256 minStake_, uint64 unbondingDelay_)
        EIP712("OpenGPU Nodes", "1")
    {
        if (admin == address(0) || treasury_ == address(0)) revert ZeroAddress();
        if (minStake_ == 0) revert ZeroMinStake();
        treasury = treasury_;
        minStake = minStake_;
        unbondingDelay = unbondingDelay_;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    /// @inheritdoc INodeRegistry
    /// @dev The consent has no nonce: it names the provider, and a provider can only repeat it for itself.
    function register(address node, bytes calldata nodeSignature) external payable {
        Node storage entry = _nodes[node];
        address provider = entry.provider;
        if (provider != address(0) && (provider != msg.sender || entry.stake != 0)) revert NodeTaken(node, provider);
        if (entry.unbondsAt != 0) revert AlreadyUnbonding(node, entry.unbondsAt);
        if (msg.value < minStake) revert StakeTooSmall(msg.value, minStake);
        (address signer, ECDSA.RecoverError err,) =
            ECDSA.tryRecoverCalldata(registrationDigest(msg.sender, node), nodeSignature);
        if (err != ECDSA.RecoverError.NoError || signer != node) revert BadNodeSignature();
        entry.provider = msg.sender;
        entry.stake = msg.value;
        emit NodeRegistered(node, msg.sender, msg.value);
    }

    /// @inheritdoc INodeRegistry
    function addStake(address node) external payable onlyProvider(node) {
        Node storage entry = _nodes[node];
        if (entry.unbondsAt != 0) revert AlreadyUnbonding(node, entry.unbondsAt);
        entry.stake += msg.value;
        emit StakeAdded(node, msg.value, entry.stake);
    }

    /// @inheritdoc INodeRegistry
    function unbond(address node) external onlyProvider(node) {
        Node storage entry = _nodes[node];
        if (entry.unbondsAt != 0) revert AlreadyUnbonding(node, entry.unbondsAt);
        if (entry.stake == 0) revert NoStake(node);
        entry.unbondsAt = uint64(block.timestamp) + unbondingDelay;
        emit NodeUnbonding(node, entry.unbondsAt);
    }

    /// @inheritdoc INodeRegistry
    /// @dev State first, then the call: the provider may be a contract and may call back. What a slasher left may be nothing;
    /// the withdrawal still ends the unbonding.
    function withdraw(address node) external nonReentrant onlyProvider(node) {
        Node storage entry = _nodes[node];
        if (entry.unbondsAt == 0 || block.timestamp < entry.unbondsAt) revert StillBonded(node, entry.unbondsAt);
        uint256 amount = entry.stake;
        entry.stake = 0;
        entry.unbondsAt = 0;
        emit StakeWithdrawn(node, msg.sender, amount);
        Address.sendValue(payable(msg.sender), amount);
    }

    /// @inheritdoc INodeRegistry
    /// @dev State first, then the call to the treasury, which was chosen at construction.
    function slash(address node, uint256 amount, bytes32 reason) external nonReentrant onlyRole(SLASHER_ROLE) {
        uint256 stake = _nodes[node].stake;
        if (amount > stake) revert SlashTooLarge(stake, amount);
        _nodes[node].stake = stake - amount;
        emit NodeSlashed(node, msg.sender, amount, reason);
        Address.sendValue(treasury, amount);
    }

    /// @inheritdoc INodeRegistry
    function providerOf(address node) external view returns (address) {
        return _nodes[node].provider;
    }

    /// @inheritdoc INodeRegistry
    function stakeOf(address node) external view returns (uint256) {
        return _nodes[node].stake;
    }

    /// @inheritdoc INodeRegistry
    function isActive(address node) external view returns (bool) {
        Node storage entry = _nodes[node];
        return entry.unbondsAt == 0 && entry.stake >= minStake;
    }

    /// @inheritdoc INodeRegistry
    function unbondsAt(address node) external view returns (uint64) {
        return _nodes[node].unbondsAt;
    }

    /// @inheritdoc INodeRegistry
    function registrationDigest(address provider, address node) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(REGISTRATION_TYPEHASH, provider, node)));
    }
}
