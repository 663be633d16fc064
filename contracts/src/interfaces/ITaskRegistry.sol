// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Where coordinators open and settle tasks, and nodes are credited for them
/// @notice A task belongs to the account that opened it: its address is recomputed from `msg.sender` on every write, so nobody
/// else can settle or fail it. A bad item of a batch is skipped with an event and never reverts its neighbours; only a batch
/// that isn't valid ABI encoding reverts whole, which is a mistake of its sender alone.
/// @dev Trust. A node is protected from forgery by its own signature, not from a coordinator that withdraws its deposit or
/// never settles: a credit is owed from the moment `settle` wrote it, and nothing takes it back. A coordinator is protected
/// from its nodes, since only it names the payment.
interface ITaskRegistry {
    /// @notice `None` is an address without a task; a task never answers it about itself.
    enum Status {
        None,
        Open,
        Completed,
        Failed
    }

    /// @notice Why an item was skipped. `BadSignature` covers a zero node, a malformed or malleable signature and a foreign one;
    /// `InsufficientDeposit` also a payment above 2^88 - 1 wei, the most one task can carry.
    enum SkipReason {
        AlreadyOpen,
        NotOpen,
        AlreadySettled,
        BadSignature,
        InsufficientDeposit
    }

    struct Opening {
        bytes32 taskKey;
        bytes32 requestHash;
    }

    /// @notice What a node signed as its receipt, and the payment that the coordinator adds.
    struct Settlement {
        bytes32 taskKey;
        bytes32 requestHash;
        bytes32 responseHash;
        address node;
        uint32 attempt;
        uint32 promptTokens;
        uint32 completionTokens;
        /// Unix time in milliseconds, by the node's clock.
        uint64 startedAt;
        uint64 finishedAt;
        /// Wei, moved from the coordinator's deposit to the node's credit. Not signed by the node.
        uint96 payment;
        /// r ‖ s ‖ v, 65 bytes, over `receiptDigest`.
        bytes signature;
    }

    struct Failure {
        bytes32 taskKey;
        bytes32 requestHash;
        /// The error code as left-aligned ASCII, for example "UPSTREAM_TIMEOUT".
        bytes32 code;
    }

    /// @notice Emitted when a task's contract was created.
    event TaskOpened(address indexed task, address indexed coordinator, bytes32 taskKey, bytes32 requestHash);

    /// @notice Emitted when a task was settled with a node's receipt and the node was credited.
    event TaskCompleted(
        address indexed task,
        address indexed node,
        bytes32 responseHash,
        uint96 payment,
        uint32 promptTokens,
        uint32 completionTokens
    );

    /// @notice Emitted when a task was given up; nobody is paid for it.
    event TaskFailed(address indexed task, bytes32 code);

    /// @notice Emitted when an item of a batch changed nothing.
    event ItemSkipped(address indexed task, SkipReason reason);

    /// @notice Emitted when a coordinator added to its deposit.
    event Deposited(address indexed coordinator, uint256 amount);

    /// @notice Emitted when a coordinator took from its deposit.
    event DepositWithdrawn(address indexed coordinator, address to, uint256 amount);

    /// @notice Emitted when the whole credit of `node` was paid out to `to`.
    event CreditWithdrawn(address indexed node, address indexed to, uint256 amount);

    /// @notice Thrown when the node registry given at construction has no code.
    error NotAContract(address account);

    /// @notice Thrown when a deposit would be paid to the zero address.
    error ZeroAddress();

    /// @notice Thrown when more is withdrawn than was deposited and not spent.
    error DepositTooSmall(uint256 available, uint256 wanted);

    /// @notice Thrown when a node without credit is paid out.
    error NothingToWithdraw(address node);

    /// @notice Creates a task contract for each item. The caller is their coordinator.
    function open(Opening[] calldata items) external;

    /// @notice Completes tasks that the caller opened, with their nodes' receipts, and credits the nodes.
    function settle(Settlement[] calldata items) external;

    /// @notice Fails tasks that the caller opened.
    function fail(Failure[] calldata items) external;

    /// @notice Adds the value sent to the caller's deposit.
    function deposit() external payable;

    /// @notice Pays `amount` wei of the caller's deposit to `to`.
    function withdrawDeposit(address payable to, uint256 amount) external;

    /// @notice Pays all that `node` has earned to its provider, or to the node itself where no provider registered it.
    /// Anybody may call it: nobody but the owner gains.
    function withdrawCredit(address node) external;

    /// @notice Wei that `coordinator` can still spend or withdraw.
    function depositOf(address coordinator) external view returns (uint256);

    /// @notice Wei that `node` has earned and that were not yet paid out.
    function creditOf(address node) external view returns (uint256);

    /// @notice Where the task of these three is, or will be once opened (CREATE2).
    function taskAddress(address coordinator, bytes32 taskKey, bytes32 requestHash) external view returns (address);

    /// @notice The contract that every task is a clone of.
    function implementation() external view returns (address);

    /// @notice Where providers of nodes are looked up when a credit is paid out.
    function nodeRegistry() external view returns (address);

    /// @notice `None` where `task` isn't a clone of `implementation`. See `ITask` for look-alikes.
    function statusOf(address task) external view returns (Status);

    /// @notice The hash of the answer; zero unless completed.
    function responseHashOf(address task) external view returns (bytes32);

    /// @notice The code of the failure; zero unless failed.
    function failureCodeOf(address task) external view returns (bytes32);

    /// @notice The node that was paid; zero unless completed.
    function nodeOf(address task) external view returns (address);

    /// @notice What the node was credited, in wei; zero unless completed.
    function paymentOf(address task) external view returns (uint96);

    /// @notice What a node signs: the EIP-712 digest of `Receipt(address task,uint32 attempt,bytes32 requestHash,
    /// bytes32 responseHash,uint32 promptTokens,uint32 completionTokens,uint64 startedAt,uint64 finishedAt)` in the domain
    /// "OpenGPU Relay", version "1", of this chain and this contract.
    function receiptDigest(
        address task,
        uint32 attempt,
        bytes32 requestHash,
        bytes32 responseHash,
        uint32 promptTokens,
        uint32 completionTokens,
        uint64 startedAt,
        uint64 finishedAt
    ) external view returns (bytes32);
}
