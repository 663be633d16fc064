// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ITaskRegistry} from "./ITaskRegistry.sol";

/// @title One task on chain
/// @notice A clone with immutable arguments that speaks for one task. It holds no state and no ether: what it was asked stands
/// in its own code, what became of it is asked of the registry that made it.
/// @dev Anybody can deploy a clone that looks like a task. One that `ITaskRegistry.taskAddress` doesn't predict for a
/// coordinator you trust says nothing: it reads as `Open` for ever, and can't be completed or paid.
interface ITask {
    /// @notice What became of the task: `Open`, `Completed` or `Failed`.
    function status() external view returns (ITaskRegistry.Status);

    /// @notice keccak256(salt ‖ the task's id as UTF-8). The id itself is never on chain.
    function taskId() external view returns (bytes32 taskKey);

    /// @notice keccak256(salt ‖ the exact bytes of the request as it went to the node).
    function requestHash() external view returns (bytes32);

    /// @notice keccak256(salt ‖ the exact bytes of the answer as the node posted it); zero unless completed.
    function responseHash() external view returns (bytes32);

    /// @notice The error code of a failed task as left-aligned ASCII; zero unless failed.
    function failureCode() external view returns (bytes32);

    /// @notice The node whose signed receipt completed the task; zero unless completed.
    function node() external view returns (address);

    /// @notice What that node was credited, in wei; zero unless completed.
    function payment() external view returns (uint96);

    /// @notice The registry that made this task and holds its state.
    function registry() external view returns (ITaskRegistry);
}
