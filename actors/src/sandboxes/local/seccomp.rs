//! The system calls that no sandboxed command needs, refused by the kernel.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Refused whatever their arguments are.
const REFUSED: [libc::c_long; 43] = [
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Large parts of the kernel that tests of a repository do not need.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // The machine as a whole.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Refused too where no network namespace keeps a command from the network. `socketpair` stays.
const NETWORK: [libc::c_long; 5] =
    [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4];

/// The kinds of namespaces that `clone` can make.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests to a terminal that put words into the mouth of whoever uses it.
const TERMINAL: [u64; 2] = [0x5412, 0x541c];

/// On `x86_64`, calls from here on are those of the x32 ABI, which has numbers of its own for everything
/// above.
const X32: u32 = 0x4000_0000;

/// The filters, to be loaded one after the other; `network` says whether sockets are allowed.
pub(super) fn programs(network: bool) -> Result<[BpfProgram; 2], seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let sockets = if network { &[][..] } else { &NETWORK };
    rules.extend(REFUSED.iter().chain(sockets).map(|call| (*call, Vec::new())));
    let mut cloning = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.cast_unsigned());
        let is_set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        cloning.push(SeccompRule::new(vec![is_set])?);
    }
    rules.insert(libc::SYS_clone, cloning);
    let mut injecting = Vec::new();
    for request in TERMINAL {
        let asks = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
        injecting.push(SeccompRule::new(vec![asks])?);
    }
    rules.insert(libc::SYS_ioctl, injecting);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?;
    Ok([BpfProgram::try_from(filter)?, unknown()])
}

/// Answers as if the kernel did not know them: `clone3`, whose flags lie in memory where no filter can look
/// (every C library falls back to `clone`), and the x32 ABI.
fn unknown() -> BpfProgram {
    let statement =
        |code: u32, k: u32| sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k };
    let jump =
        |code: u32, k: u32, jt: u8| sock_filter { jt, ..statement(libc::BPF_JMP | libc::BPF_K | code, k) };
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    let first_unknown = if cfg!(target_arch = "x86_64") { X32 } else { u32::MAX };
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JEQ, clone3, 2),
        jump(libc::BPF_JGE, first_unknown, 1),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

/// A filter as the kernel reads it from memory, for a program that loads it on our behalf.
pub(super) fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |step: &sock_filter| {
        let [code_low, code_high] = step.code.to_ne_bytes();
        let [a, b, c, d] = step.k.to_ne_bytes();
        [code_low, code_high, step.jt, step.jf, a, b, c, d]
    };
    program.iter().flat_map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_fit_and_are_eight_bytes_an_instruction() {
        for network in [true, false] {
            let [refusing, unknown] = programs(network).unwrap();
            assert!(refusing.len() < 4096, "{}", refusing.len());
            assert_eq!(bytes(&unknown).len(), unknown.len() * 8);
        }
    }

    #[test]
    fn only_a_command_without_a_network_namespace_is_kept_from_sockets() {
        let [open, _] = programs(true).unwrap();
        let [closed, _] = programs(false).unwrap();
        assert!(closed.len() > open.len());
    }
}
