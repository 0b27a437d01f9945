// SPDX-License-Identifier: MIT
pragma solidity 0.8.20;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @dev What the controller uses of WrappedPocket.
interface IMintable {
    function mint(address to, uint256 amount, uint256 nonce) external;
}

/// @title Mints wPOKT for whoever brings enough validators' signatures: a development contract, ABI-compatible with the
///        deployed one.
/// @dev The admin is whoever holds WrappedPocket's admin role. The initial limits assume 18 decimals while wPOKT has 6:
///      they limit nothing until `setMintCooldown` is called.
contract MintController is EIP712 {
    struct MintData {
        address recipient;
        uint256 amount;
        uint256 nonce;
    }

    bytes32 public constant DEFAULT_ADMIN_ROLE = 0x00;
    bytes32 private constant MINT_DATA_TYPEHASH = keccak256("MintData(address recipient,uint256 amount,uint256 nonce)");

    address public immutable wPokt;

    mapping(address => bool) public validators;
    uint256 public validatorCount;
    /// @notice How many validators must sign a mint. The initial value is out of reach on purpose: it must be set.
    uint256 public signerThreshold = 50;

    /// @notice Time of the last mint, seconds since the epoch.
    uint256 public lastMint;
    uint256 public maxMintLimit = 335_000e18;
    uint256 public mintPerSecond = 3.8773e18;
    /// @dev What was left of the limit after the last mint.
    uint256 private remaining = 335_000e18;

    event MintCooldownSet(uint256 newLimit, uint256 newCooldown);
    event NewValidator(address indexed validator);
    event RemovedValidator(address indexed validator);
    event CurrentMintLimit(uint256 indexed limit, uint256 indexed lastMint);
    event SignerThresholdSet(uint256 indexed ratio);

    error OverMintLimit();
    error NonAdmin();
    error InvalidSignatureRatio();
    error InvalidSignatures();
    error InvalidRemoveValidator();
    error InvalidAddValidator();
    error NonZero();
    error BelowMinThreshold();
    error InvalidCooldownConfig();

    modifier onlyAdmin() {
        if (!IAccessControl(wPokt).hasRole(DEFAULT_ADMIN_ROLE, msg.sender)) {
            revert NonAdmin();
        }
        _;
    }

    constructor(address _wPokt) EIP712("MintController", "1") {
        if (_wPokt == address(0)) {
            revert NonZero();
        }
        wPokt = _wPokt;
    }

    /// @notice Mint `data` if enough validators signed it; anyone may call. Signatures must come in ascending order of
    ///         their signers' addresses; those out of order or of others than validators do not count.
    function mintWrappedPocket(MintData calldata data, bytes[] calldata signatures) external {
        if (!_enoughSigned(data, signatures)) {
            revert InvalidSignatures();
        }
        _spendLimit(data.amount);
        IMintable(wPokt).mint(data.recipient, data.amount, data.nonce);
    }

    function addValidator(address validator) external onlyAdmin {
        if (validator == address(0)) {
            revert NonZero();
        }
        if (validators[validator]) {
            revert InvalidAddValidator();
        }
        validators[validator] = true;
        ++validatorCount;
        emit NewValidator(validator);
    }

    function removeValidator(address validator) external onlyAdmin {
        // "one less would be below the threshold", without the underflow of an empty set
        if (validatorCount <= signerThreshold) {
            revert BelowMinThreshold();
        }
        if (validator == address(0)) {
            revert NonZero();
        }
        if (!validators[validator]) {
            revert InvalidRemoveValidator();
        }
        validators[validator] = false;
        --validatorCount;
        emit RemovedValidator(validator);
    }

    function setSignerThreshold(uint256 signatureRatio) external onlyAdmin {
        if (signatureRatio > validatorCount || signatureRatio == 0 || signatureRatio < validatorCount / 2) {
            revert InvalidSignatureRatio();
        }
        signerThreshold = signatureRatio;
        emit SignerThresholdSet(signatureRatio);
    }

    /// @notice Set the limit, in units of wPOKT's smallest, and how much of it comes back per second.
    function setMintCooldown(uint256 newLimit, uint256 newPerSecond) external onlyAdmin {
        if (newLimit < mintPerSecond) {
            revert InvalidCooldownConfig();
        }
        maxMintLimit = newLimit;
        mintPerSecond = newPerSecond;
        emit MintCooldownSet(newLimit, newPerSecond);
    }

    /// @notice What could be minted now.
    function currentMintLimit() public view returns (uint256) {
        return Math.min(maxMintLimit, remaining + (block.timestamp - lastMint) * mintPerSecond);
    }

    /// @notice What was left after the last mint.
    function lastMintLimit() external view returns (uint256) {
        return remaining;
    }

    function _spendLimit(uint256 amount) private {
        uint256 limit = currentMintLimit(); // never above maxMintLimit
        if (amount > limit) {
            revert OverMintLimit();
        }
        remaining = limit - amount;
        lastMint = block.timestamp;
        emit CurrentMintLimit(remaining, lastMint);
    }

    function _enoughSigned(MintData calldata data, bytes[] calldata signatures) private view returns (bool) {
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(MINT_DATA_TYPEHASH, data.recipient, data.amount, data.nonce))
        );
        uint256 count;
        address last;
        for (uint256 i; i < signatures.length; ++i) {
            address signer = ECDSA.recover(digest, signatures[i]);
            if (validators[signer] && signer > last) {
                last = signer;
                ++count;
            }
        }
        return count > 0 && count >= signerThreshold;
    }
}
