// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ITaskRegistry} from "../../src/interfaces/ITaskRegistry.sol";
import {vm} from "./Vm.sol";

/// @dev EIP-712 written out a second time, from the standard and not from the contract, so that a mistake in one shows.
library Receipts {
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function domain(string memory name, address verifyingContract) internal view returns (bytes32) {
        return
            keccak256(abi.encode(DOMAIN_TYPE, keccak256(bytes(name)), keccak256("1"), block.chainid, verifyingContract));
    }

    function digest(address registry, address task, ITaskRegistry.Settlement memory item)
        internal
        view
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(
            "Receipt(address task,uint32 attempt,bytes32 requestHash,bytes32 responseHash,uint32 promptTokens,uint32 completionTokens,uint64 startedAt,uint64 finishedAt)"
        );
        bytes memory head = abi.encode(typeHash, task, item.attempt, item.requestHash, item.responseHash);
        bytes memory tail = abi.encode(item.promptTokens, item.completionTokens, item.startedAt, item.finishedAt);
        return
            keccak256(bytes.concat(hex"1901", domain("OpenGPU Relay", registry), keccak256(bytes.concat(head, tail))));
    }

    function registration(address registry, address provider, address node) internal view returns (bytes32) {
        bytes32 body = keccak256(abi.encode(keccak256("Registration(address provider,address node)"), provider, node));
        return keccak256(bytes.concat(hex"1901", domain("OpenGPU Nodes", registry), body));
    }

    function sign(uint256 key, bytes32 message) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, message);
        return abi.encodePacked(r, s, v);
    }
}
