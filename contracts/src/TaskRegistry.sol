// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {ITaskRegistry} from "./interfaces/ITaskRegistry.sol";
import {Task} from "./Task.sol";
import {TaskCode} from "./TaskCode.sol";

/// @title See ITaskRegistry
/// @dev Ether comes in by `deposit` alone and every wei of it is either a deposit or a credit. What is forced in otherwise
/// belongs to nobody and stays: no balance is ever read. No owner, no upgrade, no pause.
contract TaskRegistry is ITaskRegistry, EIP712, ReentrancyGuardTransient {
    /// @dev Two slots. An open task has none: it is a clone with code and nothing here. `result` is the response hash of a
    /// completed task and the failure code of a failed one. 88 bits of wei are 309 million ether; the width makes one slot of
    /// the last three.
    struct Outcome {
        bytes32 result;
        address node;
        uint88 payment;
        Status status;
    }

    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(address task,uint32 attempt,bytes32 requestHash,bytes32 responseHash,uint32 promptTokens,"
        "uint32 completionTokens,uint64 startedAt,uint64 finishedAt)"
    );

    /// @inheritdoc ITaskRegistry
    address public immutable implementation;

    /// @inheritdoc ITaskRegistry
    address public immutable nodeRegistry;

    mapping(address task => Outcome) private _outcomes;
    mapping(address coordinator => uint256) private _deposits;
    mapping(address node => uint256) private _credits;

    constructor(INodeRegistry nodeRegistry_) EIP712("OpenGPU Relay", "1") {
        if (address(nodeRegistry_).code.length == 0) revert NotAContract(address(nodeRegistry_));
        nodeRegistry = address(nodeRegistry_);
        implementation = address(new Task(this));
    }

    /// @inheritdoc ITaskRegistry
    function open(Opening[] calldata items) external {
        bytes memory code = TaskCode.blank(implementation);
        for (uint256 i = 0; i < items.length; ++i) {
            Opening calldata item = items[i];
            address task = TaskCode.place(code, msg.sender, item.taskKey, item.requestHash);
            // Code never leaves a task's address, so this also catches settled ones and repeats within the batch.
            if (task.code.length != 0) {
                emit ItemSkipped(task, SkipReason.AlreadyOpen);
                continue;
            }
            TaskCode.create(code, msg.sender, item.taskKey);
            emit TaskOpened(task, msg.sender, item.taskKey, item.requestHash);
        }
    }

    /// @inheritdoc ITaskRegistry
    /// @dev The deposit is held in memory over the loop and written once. That is safe because nothing in the loop calls out:
    /// no callee can spend it in between.
    function settle(Settlement[] calldata items) external {
        bytes memory code = TaskCode.blank(implementation);
        uint256 before = _deposits[msg.sender];
        uint256 left = before;
        for (uint256 i = 0; i < items.length; ++i) {
            Settlement calldata item = items[i];
            address task = TaskCode.place(code, msg.sender, item.taskKey, item.requestHash);
            (bool refused, SkipReason reason) = _refusal(task, item, left);
            if (refused) {
                emit ItemSkipped(task, reason);
                continue;
            }
            left -= item.payment;
            _complete(task, item);
        }
        if (left != before) _deposits[msg.sender] = left;
    }

    /// @inheritdoc ITaskRegistry
    function fail(Failure[] calldata items) external {
        bytes memory code = TaskCode.blank(implementation);
        for (uint256 i = 0; i < items.length; ++i) {
            Failure calldata item = items[i];
            address task = TaskCode.place(code, msg.sender, item.taskKey, item.requestHash);
            (bool closed, SkipReason reason) = _closed(task);
            if (closed) {
                emit ItemSkipped(task, reason);
                continue;
            }
            _outcomes[task] = Outcome({result: item.code, node: address(0), payment: 0, status: Status.Failed});
            emit TaskFailed(task, item.code);
        }
    }

    /// @inheritdoc ITaskRegistry
    function deposit() external payable {
        _deposits[msg.sender] += msg.value;
        emit Deposited(msg.sender, msg.value);
    }

    /// @inheritdoc ITaskRegistry
    /// @dev State first, then the call: the receiver may be a contract and may call back.
    function withdrawDeposit(address payable to, uint256 amount) external nonReentrant {
        if (to == address(0)) revert ZeroAddress();
        uint256 available = _deposits[msg.sender];
        if (amount > available) revert DepositTooSmall(available, amount);
        _deposits[msg.sender] = available - amount;
        emit DepositWithdrawn(msg.sender, to, amount);
        Address.sendValue(to, amount);
    }

    /// @inheritdoc ITaskRegistry
    /// @dev State first, then the call. A provider that refuses ether blocks its own credit and nobody else's.
    function withdrawCredit(address node) external nonReentrant {
        uint256 amount = _credits[node];
        if (amount == 0) revert NothingToWithdraw(node);
        _credits[node] = 0;
        address provider = INodeRegistry(nodeRegistry).providerOf(node);
        address to = provider == address(0) ? node : provider;
        emit CreditWithdrawn(node, to, amount);
        Address.sendValue(payable(to), amount);
    }

    /// @inheritdoc ITaskRegistry
    function depositOf(address coordinator) external view returns (uint256) {
        return _deposits[coordinator];
    }

    /// @inheritdoc ITaskRegistry
    function creditOf(address node) external view returns (uint256) {
        return _credits[node];
    }

    /// @inheritdoc ITaskRegistry
    function statusOf(address task) external view returns (Status) {
        Status status = _outcomes[task].status;
        if (status != Status.None) return status;
        return _isClone(task) ? Status.Open : Status.None;
    }

    /// @inheritdoc ITaskRegistry
    function responseHashOf(address task) external view returns (bytes32) {
        Outcome storage outcome = _outcomes[task];
        return outcome.status == Status.Completed ? outcome.result : bytes32(0);
    }

    /// @inheritdoc ITaskRegistry
    function failureCodeOf(address task) external view returns (bytes32) {
        Outcome storage outcome = _outcomes[task];
        return outcome.status == Status.Failed ? outcome.result : bytes32(0);
    }

    /// @inheritdoc ITaskRegistry
    function nodeOf(address task) external view returns (address) {
        return _outcomes[task].node;
    }

    /// @inheritdoc ITaskRegistry
    function paymentOf(address task) external view returns (uint96) {
        return _outcomes[task].payment;
    }

    /// @inheritdoc ITaskRegistry
    function taskAddress(address coordinator, bytes32 taskKey, bytes32 requestHash) public view returns (address) {
        return TaskCode.place(TaskCode.blank(implementation), coordinator, taskKey, requestHash);
    }

    /// @inheritdoc ITaskRegistry
    function receiptDigest(
        address task,
        uint32 attempt,
        bytes32 requestHash,
        bytes32 responseHash,
        uint32 promptTokens,
        uint32 completionTokens,
        uint64 startedAt,
        uint64 finishedAt
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    RECEIPT_TYPEHASH,
                    task,
                    attempt,
                    requestHash,
                    responseHash,
                    promptTokens,
                    completionTokens,
                    startedAt,
                    finishedAt
                )
            )
        );
    }

    /// @dev Effects of an item that `_refusal` let through: the payment fits its 88 bits.
    function _complete(address task, Settlement calldata item) private {
        (address node, uint96 payment, bytes32 responseHash) = (item.node, item.payment, item.responseHash);
        Outcome storage outcome = _outcomes[task];
        outcome.result = responseHash;
        (outcome.node, outcome.payment, outcome.status) = (node, uint88(payment), Status.Completed);
        _credits[node] += payment;
        emit TaskCompleted(task, node, responseHash, payment, item.promptTokens, item.completionTokens);
    }

    /// @dev The cheapest checks first, the signature last but for the money: a repeat of a whole batch costs no ecrecover.
    function _refusal(address task, Settlement calldata item, uint256 left) private view returns (bool, SkipReason) {
        (bool closed, SkipReason reason) = _closed(task);
        if (closed) return (true, reason);
        if (!_isSigned(task, item)) return (true, SkipReason.BadSignature);
        return (item.payment > left || item.payment > type(uint88).max, SkipReason.InsufficientDeposit);
    }

    /// @dev Only this contract can have put code at an address that CREATE2 derives from it, so code is proof enough.
    function _closed(address task) private view returns (bool, SkipReason) {
        if (_outcomes[task].status != Status.None) return (true, SkipReason.AlreadySettled);
        return (task.code.length == 0, SkipReason.NotOpen);
    }

    /// @dev A signature that recovers to nobody comes back as the zero address with an error, so a zero node never passes.
    function _isSigned(address task, Settlement calldata item) private view returns (bool) {
        bytes32 digest = receiptDigest(
            task,
            item.attempt,
            item.requestHash,
            item.responseHash,
            item.promptTokens,
            item.completionTokens,
            item.startedAt,
            item.finishedAt
        );
        (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, item.signature);
        return err == ECDSA.RecoverError.NoError && signer == item.node;
    }

    /// @dev The proxy code of EIP-1167 for our implementation, with any two hashes behind it.
    function _isClone(address task) private view returns (bool) {
        if (task.code.length != TaskCode.RUNTIME_LENGTH) return false;
        bytes memory proxy =
            abi.encodePacked(hex"363d3d373d3d3d363d73", implementation, hex"5af43d82803e903d91602b57fd5bf3");
        return task.codehash == keccak256(bytes.concat(proxy, Clones.fetchCloneArgs(task)));
    }
}
