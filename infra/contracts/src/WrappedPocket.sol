// SPDX-License-Identifier: MIT
pragma solidity 0.8.20;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/security/Pausable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title wPOKT, POKT on Ethereum: a development contract, ABI-compatible with the deployed one.
/// @dev Amounts have 6 decimals, as upokt have. The deployer gets the admin role and nothing else.
contract WrappedPocket is ERC20, ERC20Burnable, Pausable, AccessControl, ERC20Permit {
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @notice Parts of a whole in which the fee is given.
    uint256 public constant BASIS_POINTS = 10_000;
    /// @notice The highest fee, 3 %.
    uint256 public constant MAX_FEE_BASIS = 300;

    bool public feeFlag;
    uint256 public feeBasis;
    address public feeCollector;

    /// @dev The last used mint nonce of each recipient; unrelated to the nonces of permits.
    mapping(address => uint256) private lastNonce;

    event Minted(address indexed recipient, uint256 indexed amount, uint256 indexed nonce);
    event BurnAndBridge(uint256 indexed amount, address indexed poktAddress, address indexed from);
    event FeeSet(bool indexed flag, uint256 indexed newFee, address indexed feeCollector);
    event FeeCollected(address indexed feeCollector, uint256 indexed amount);

    error UserNonce(address user, uint256 nonce);
    error FeeCollectorZero();
    error FeeBasisDust();
    error BatchMintLength();
    error MaxBasis();
    error BlockBurn();

    constructor() ERC20("Wrapped Pocket", "wPOKT") ERC20Permit("Wrapped Pocket") {
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    /// @notice Burn the caller's tokens so that the bridge pays POKT to `poktAddress`.
    function burnAndBridge(uint256 amount, address poktAddress) public whenNotPaused {
        _burn(msg.sender, amount);
        emit BurnAndBridge(amount, poktAddress, msg.sender);
    }

    /// @notice Mint `amount`, less the fee, to `to`; `nonce` must be one more than the recipient's last.
    function mint(address to, uint256 amount, uint256 nonce) public onlyRole(MINTER_ROLE) whenNotPaused {
        _useNonce(to, nonce);
        uint256 net = amount;
        if (feeFlag) {
            uint256 fee = _feeOf(amount);
            _payFee(fee);
            net -= fee;
        }
        _mintNet(to, net, nonce);
    }

    /// @notice As `mint`, for each index of the three lists; the fee is minted once, as one sum.
    function batchMint(address[] calldata to, uint256[] calldata amount, uint256[] calldata nonce)
        public
        onlyRole(MINTER_ROLE)
        whenNotPaused
    {
        if (to.length != amount.length || to.length != nonce.length) {
            revert BatchMintLength();
        }
        uint256 fees;
        for (uint256 i; i < to.length; ++i) {
            _useNonce(to[i], nonce[i]);
            uint256 fee = feeFlag ? _feeOf(amount[i]) : 0;
            fees += fee;
            _mintNet(to[i], amount[i] - fee, nonce[i]);
        }
        if (feeFlag) {
            _payFee(fees);
        }
    }

    /// @notice Switch the fee on or off and set it, in basis points, with the account that gets it.
    function setFee(bool flag, uint256 newFee, address newCollector) public onlyRole(DEFAULT_ADMIN_ROLE) {
        if (newCollector == address(0)) {
            revert FeeCollectorZero();
        }
        if (newFee > MAX_FEE_BASIS) {
            revert MaxBasis();
        }
        feeFlag = flag;
        feeBasis = newFee;
        feeCollector = newCollector;
        emit FeeSet(flag, newFee, newCollector);
    }

    function pause() public onlyRole(PAUSER_ROLE) {
        _pause();
    }

    function unpause() public onlyRole(PAUSER_ROLE) {
        _unpause();
    }

    /// @notice Always reverts: tokens burnt here would be lost without a payment on Pocket. (`burnFrom` stays open.)
    function burn(uint256) public pure override {
        revert BlockBurn();
    }

    /// @notice The last used mint nonce of `user`, 0 before the first mint.
    function getUserNonce(address user) public view returns (uint256) {
        return lastNonce[user];
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @dev While paused nothing moves: no transfer, no mint, no burn.
    function _beforeTokenTransfer(address from, address to, uint256 amount) internal override whenNotPaused {
        super._beforeTokenTransfer(from, to, amount);
    }

    function _useNonce(address to, uint256 nonce) private {
        if (nonce != lastNonce[to] + 1) {
            revert UserNonce(to, nonce);
        }
        lastNonce[to] = nonce;
    }

    function _mintNet(address to, uint256 net, uint256 nonce) private {
        _mint(to, net);
        emit Minted(to, net, nonce);
    }

    /// @dev Only whole multiples of BASIS_POINTS, so that the fee is exact.
    function _feeOf(uint256 amount) private view returns (uint256) {
        if (amount % BASIS_POINTS != 0) {
            revert FeeBasisDust();
        }
        return amount / BASIS_POINTS * feeBasis;
    }

    function _payFee(uint256 fee) private {
        _mint(feeCollector, fee);
        emit FeeCollected(feeCollector, fee);
    }
}
