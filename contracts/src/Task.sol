// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {ITask} from "./interfaces/ITask.sol";
import {ITaskRegistry} from "./interfaces/ITaskRegistry.sol";

/// @title The implementation that every task is a clone of
/// @dev Views only, so there is nothing to initialise, to own or to destroy. Called on itself and not through a clone, what it
/// answers has no meaning.
contract Task is ITask {
    /// @inheritdoc ITask
    ITaskRegistry public immutable registry;

    constructor(ITaskRegistry registry_) {
        registry = registry_;
    }

    /// @inheritdoc ITask
    function status() external view returns (ITaskRegistry.Status) {
        return registry.statusOf(address(this));
    }

    /// @inheritdoc ITask
    function taskId() external view returns (bytes32 taskKey) {
        (taskKey,) = _arguments();
    }

    /// @inheritdoc ITask
    function requestHash() external view returns (bytes32 hash) {
        (, hash) = _arguments();
    }

    /// @inheritdoc ITask
    function responseHash() external view returns (bytes32) {
        return registry.responseHashOf(address(this));
    }

    /// @inheritdoc ITask
    function failureCode() external view returns (bytes32) {
        return registry.failureCodeOf(address(this));
    }

    /// @inheritdoc ITask
    function node() external view returns (address) {
        return registry.nodeOf(address(this));
    }

    /// @inheritdoc ITask
    function payment() external view returns (uint96) {
        return registry.paymentOf(address(this));
    }

    /// @dev The clone runs this code by delegatecall, so address(this) is the clone and its code ends in the arguments.
    function _arguments() private view returns (bytes32 taskKey, bytes32 hash) {
        return abi.decode(Clones.fetchCloneArgs(address(this)), (bytes32, bytes32));
    }
}
