//! The context of a program at socket lookup.

use aya_ebpf::bindings::bpf_sk_lookup;
use aya_ebpf::helpers::generated as helper;
use xps_core::flow::FlowKey;
use xps_core::handler::Handler;
use xps_core::handshake::Mark;
use xps_core::packet::mapped;
use xps_core::path::listen::{self, ListenerKey};
use xps_core::predicate::Role;
use xps_core::word::store_u32;

use crate::maps::Maps;

/// Reads a field of the context as the one load that the kernel translates.
macro_rules! field {
    ($ctx:expr, $name:ident) => {
        // SAFETY: a field of the program's own context.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx).$name) }
    };
}

struct Marks<H, M>(core::marker::PhantomData<(H, M)>);

impl<H: Handler, M: Maps<H>> listen::Marks for Marks<H, M> {
    #[inline(always)]
    fn mark(&self, slot: u32) -> Option<*mut Mark> {
        M::mark(slot)
    }
}

/// Gives connections to the accelerated port to the server's listener, as the ingress program has decided.
#[inline(always)]
pub fn run<H: Handler, M: Maps<H>>(ctx: *mut bpf_sk_lookup) {
    const TCP: u32 = 6;
    if field!(ctx, protocol) != TCP {
        return;
    }
    let port = field!(ctx, local_port) as u16;
    let Some(ports) = M::ports() else { return };
    // SAFETY: the table has a byte for each value of `port`.
    let index = unsafe { *ports.cast::<u8>().add(port as usize) };
    if index == 0 {
        return;
    }
    let (Some(predicate), Some(control)) = (M::predicate(u32::from(index)), M::control()) else { return };
    // SAFETY: maps' values stay while the program runs.
    let (predicate, control) = unsafe { (&*predicate, &*control) };
    let mut key = FlowKey::default();
    const AF_INET: u32 = 2;
    if field!(ctx, family) == AF_INET {
        key.client = mapped(field!(ctx, remote_ip4).to_ne_bytes());
        key.server = mapped(field!(ctx, local_ip4).to_ne_bytes());
    } else {
        // SAFETY: words of the program's own context, and of a key.
        unsafe {
            let (remote, local) =
                ((&raw const (*ctx).remote_ip6).cast::<u32>(), (&raw const (*ctx).local_ip6).cast::<u32>());
            store_u32(key.client.as_mut_ptr(), remote.read_volatile());
            store_u32(key.client.as_mut_ptr().add(4), remote.add(1).read_volatile());
            store_u32(key.client.as_mut_ptr().add(8), remote.add(2).read_volatile());
            store_u32(key.client.as_mut_ptr().add(12), remote.add(3).read_volatile());
            store_u32(key.server.as_mut_ptr(), local.read_volatile());
            store_u32(key.server.as_mut_ptr().add(4), local.add(1).read_volatile());
            store_u32(key.server.as_mut_ptr().add(8), local.add(2).read_volatile());
            store_u32(key.server.as_mut_ptr().add(12), local.add(3).read_volatile());
        }
    }
    key.client_port = u16::from_be(field!(ctx, remote_port));
    key.server_port = port;
    if predicate.in_place() || predicate.role(&key.server, port) != Some(Role::Accelerated) {
        return;
    }
    let marks = Marks::<H, M>(core::marker::PhantomData);
    if !listen::is_for_server(&marks, control, &key) {
        return;
    }
    let listener = ListenerKey { address: key.server, port: predicate.plain_port, padding: [0; 3] };
    // SAFETY: the key is initialised; the socket is released.
    let given = unsafe {
        let socket = helper::bpf_map_lookup_elem(M::listeners(), (&raw const listener).cast());
        if socket.is_null() {
            false
        } else {
            let code = helper::bpf_sk_assign(ctx.cast(), socket, 0);
            helper::bpf_sk_release(socket);
            code == 0
        }
    };
    if !given {
        listen::leave(&marks, control, &key);
    }
}
