// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Who owns a node, and what stands behind it
/// @notice A provider (a cold key) registers a node (the hot key on the GPU machine) with a stake.
/// @dev Trust. The node consents by signature, so nobody registers a stranger's node. A node stays bound to its first provider
/// for good, even after the stake was withdrawn: whoever steals the hot key can't point its earnings elsewhere. A slasher can
/// take any stake, also one that is unbonding, and only for the treasury; the admin appoints slashers.
interface INodeRegistry {
    /// @notice Emitted when `provider` registered `node`, or came back with a new stake after withdrawing it.
    event NodeRegistered(address indexed node, address indexed provider, uint256 stake);

    /// @notice Emitted when a provider added to a stake; `stake` is the new total.
    event StakeAdded(address indexed node, uint256 amount, uint256 stake);

    /// @notice Emitted when a provider began to withdraw; the stake can be slashed until it is withdrawn.
    event NodeUnbonding(address indexed node, uint64 unbondsAt);

    /// @notice Emitted when a stake was paid back to its provider.
    event StakeWithdrawn(address indexed node, address indexed provider, uint256 amount);

    /// @notice Emitted when `amount` of a stake went to the treasury. `reason` is left-aligned ASCII.
    event NodeSlashed(address indexed node, address indexed slasher, uint256 amount, bytes32 reason);

    /// @notice Thrown when the admin or the treasury is the zero address at construction.
    error ZeroAddress();

    /// @notice Thrown when the least stake is zero at construction: a node without a stake could never be told from none.
    error ZeroMinStake();

    /// @notice Thrown when a node is registered with less than `minStake`.
    error StakeTooSmall(uint256 sent, uint256 minStake);

    /// @notice Thrown when the node's consent is missing: not its signature, or over another provider.
    error BadNodeSignature();

    /// @notice Thrown when the node belongs to somebody else, or to the caller and still has a stake.
    error NodeTaken(address node, address provider);

    /// @notice Thrown when anybody but the node's provider touches its stake.
    error NotProvider(address node, address caller);

    /// @notice Thrown when there is no stake to unbond.
    error NoStake(address node);

    /// @notice Thrown when a stake that is on its way out is added to or unbonded again.
    error AlreadyUnbonding(address node, uint64 unbondsAt);

    /// @notice Thrown when a stake is withdrawn before the delay has passed, or `unbond` was called (`unbondsAt` is zero).
    error StillBonded(address node, uint64 unbondsAt);

    /// @notice Thrown when more is slashed than is staked.
    error SlashTooLarge(uint256 stake, uint256 amount);

    /// @notice Registers `node` for the caller with the value sent as its stake.
    /// @param nodeSignature The node's 65-byte signature over `registrationDigest(caller, node)`.
    function register(address node, bytes calldata nodeSignature) external payable;

    /// @notice Adds the value sent to the stake of the caller's node.
    function addStake(address node) external payable;

    /// @notice Starts the delay after which the caller can withdraw. The node is inactive from now on.
    function unbond(address node) external;

    /// @notice Pays the stake back to the caller, its provider. The node stays bound to that provider.
    function withdraw(address node) external;

    /// @notice Moves `amount` of a stake to the treasury. For holders of SLASHER_ROLE.
    function slash(address node, uint256 amount, bytes32 reason) external;

    /// @notice Who registered `node`; zero where nobody did. Never changes once set.
    function providerOf(address node) external view returns (address);

    /// @notice The stake behind `node`, in wei.
    function stakeOf(address node) external view returns (uint256);

    /// @notice Whether `node` is registered, not unbonding, and its stake is at least `minStake`.
    function isActive(address node) external view returns (bool);

    /// @notice When the stake can be withdrawn, in unix seconds; zero while it isn't unbonding.
    function unbondsAt(address node) external view returns (uint64);

    /// @notice The least stake of an active node, in wei.
    function minStake() external view returns (uint256);

    /// @notice Seconds between `unbond` and `withdraw`.
    function unbondingDelay() external view returns (uint64);

    /// @notice Where slashed stakes go.
    function treasury() external view returns (address payable);

    /// @notice What a node signs to consent: the EIP-712 digest of `Registration(address provider,address node)` in the domain
    /// "OpenGPU Nodes", version "1", of this chain and this contract.
    function registrationDigest(address provider, address node) external view returns (bytes32);
}
