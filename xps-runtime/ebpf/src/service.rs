//! The macro that makes maps and programs concrete.

/// What a tcx program returns for an action (include/uapi/linux/bpf.h, `enum tcx_action_base`).
#[inline(always)]
#[must_use]
pub const fn return_code(action: xps_core::path::Action) -> i32 {
    match action {
        xps_core::path::Action::Next => -1,
        xps_core::path::Action::Drop => 2,
        xps_core::path::Action::Redirected(code) => code,
    }
}

/// Defines a service's maps and its programs.
///
/// ```ignore
/// xps_ebpf::service! {
///     handler: Echo = Echo,
///     flows: 16384,
/// }
/// ```
///
/// `handler` is the handler's type and an expression that makes one (a handle to tables, so it costs nothing); `flows` is
/// the default size of the flow table, which the agent may change when it loads the object.
#[macro_export]
macro_rules! service {
    (handler: $handler:ty = $make:expr, flows: $flows:expr $(,)?) => {
        /// The runtime's maps, as `xps_core::abi::map` names them.
        mod xps_service {
            use super::*;
            use $crate::aya_ebpf::bindings::__sk_buff;
            use $crate::aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf, SockHash};
            use $crate::aya_ebpf::macros::{btf_map, classifier, sk_lookup};
            use $crate::aya_ebpf::programs::{SkLookupContext, TcContext};
            use $crate::cookie;
            use $crate::maps::Maps;
            use $crate::packet::{
                ABSENT, Packet, advance, digest_of, listens, refill, socket_state, sum, sum_part, sum_reply,
                verify, walk_options,
            };
            use $crate::service::return_code;
            use $crate::xps_core::abi::{
                Control, DEVICES_MAX, Device, EVENTS_BYTES, LISTENERS_MAX, LOCALS_MAX, Local, OWN_MAX, State,
            };
            use $crate::xps_core::binding;
            use $crate::xps_core::flow::{Flow, FlowKey};
            use $crate::xps_core::handler::{Handler, Reply, Scan};
            use $crate::xps_core::handshake::{MARKS as MARKS_LEN, Mark};
            use $crate::xps_core::path::listen::ListenerKey;
            use $crate::xps_core::path::{
                Direction, STAGES as STAGES_LEN, Scratch as Work, Stage, Step, connect, egress, headers,
                icmp, ingress, local,
            };
            use $crate::xps_core::predicate::{PREDICATES_MAX, Predicate};
            use $crate::xps_core::verdict::Reason;

            type H = $handler;
            type S = <H as Handler>::State;
            type W = Work<<H as Handler>::Scratch>;

            const MAPPABLE: usize = 1 << 10;
            const NO_PREALLOC: usize = 1;

            #[btf_map]
            static CONTROL: Array<Control, 1, MAPPABLE> = Array::new();
            #[btf_map]
            static STATE: Array<State, 1, MAPPABLE> = Array::new();
            #[btf_map]
            static PORTS: Array<[u8; 65536], 1, MAPPABLE> = Array::new();
            #[btf_map]
            static PREDICATES: Array<Predicate, { PREDICATES_MAX as usize }> = Array::new();
            #[btf_map]
            static DEVICES: HashMap<u32, Device, { DEVICES_MAX as usize }> = HashMap::new();
            #[btf_map]
            static LOCALS: HashMap<[u8; 16], Local, { LOCALS_MAX as usize }, NO_PREALLOC> = HashMap::new();
            #[btf_map]
            static OWN: HashMap<FlowKey, u8, { OWN_MAX as usize }> = HashMap::new();
            #[btf_map]
            static FLOWS: HashMap<FlowKey, Flow<S>, { $flows }, NO_PREALLOC> = HashMap::new();
            #[btf_map]
            static BLANK: Array<[u8; size_of::<Flow<S>>()], 1> = Array::new();
            #[btf_map]
            static MARKS: Array<Mark, { MARKS_LEN as usize }> = Array::new();
            #[btf_map]
            static STAGES: ProgramArray<STAGES_LEN> = ProgramArray::new();
            #[btf_map]
            static LISTENERS: SockHash<ListenerKey, { LISTENERS_MAX as usize }> = SockHash::new();
            #[btf_map]
            static STATS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();
            #[btf_map]
            static SCRATCH: PerCpuArray<W, 1> = PerCpuArray::new();
            #[btf_map]
            pub(crate) static EVENTS: RingBuf<[u8; 0], { EVENTS_BYTES as usize }> = RingBuf::new();

            /// The maps, as the runtime asks for them.
            pub(crate) struct ServiceMaps;

            impl Maps<H> for ServiceMaps {
                #[inline(always)]
                fn ports() -> Option<*const [u8; 65536]> {
                    PORTS.get_ptr(0)
                }
                #[inline(always)]
                fn predicate(index: u32) -> Option<*const Predicate> {
                    PREDICATES.get_ptr(index)
                }
                #[inline(always)]
                fn control() -> Option<*const Control> {
                    CONTROL.get_ptr(0)
                }
                #[inline(always)]
                fn state() -> Option<*mut State> {
                    STATE.get_ptr_mut(0)
                }
                #[inline(always)]
                fn device(ifindex: u32) -> Option<*const Device> {
                    DEVICES.get_ptr(&ifindex)
                }
                #[inline(always)]
                fn local(address: &[u8; 16]) -> Option<*const Local> {
                    LOCALS.get_ptr(address)
                }
                #[inline(always)]
                fn role(ctx: *mut __sk_buff, asked: local::Asked) -> u32 {
                    xps_role(ctx, asked.0)
                }
                #[inline(always)]
                fn priority_tags_off(ctx: *mut __sk_buff) -> bool {
                    xps_priority_tags_off(ctx) != 0
                }
                #[inline(always)]
                fn counter(index: u32) -> Option<*mut u64> {
                    STATS.get_ptr_mut(index)
                }
                #[inline(always)]
                fn scratch() -> Option<*mut W> {
                    SCRATCH.get_ptr_mut(0)
                }
                #[inline(always)]
                fn flow(key: &FlowKey) -> Option<*mut Flow<S>> {
                    FLOWS.get_ptr_mut(key)
                }
                #[inline(always)]
                fn insert_flow(key: &FlowKey) -> bool {
                    const NO_EXIST: u64 = 1;
                    let Some(blank) = BLANK.get_ptr(0) else { return false };
                    // SAFETY: an array's value that nobody writes; all zero is a valid flow. Not of the flow's type, whose
                    // lock the verifier would not let a helper read.
                    FLOWS.insert(key, unsafe { &*blank.cast::<Flow<S>>() }, NO_EXIST).is_ok()
                }
                #[inline(always)]
                fn remove_flow(key: &FlowKey) -> bool {
                    FLOWS.remove(key).is_ok()
                }
                #[inline(always)]
                fn mark(slot: u32) -> Option<*mut Mark> {
                    MARKS.get_ptr_mut(slot)
                }
                #[inline(always)]
                fn socket_state(ctx: *mut __sk_buff, v6: u32) -> u32 {
                    xps_socket_state(ctx, v6)
                }
                #[inline(always)]
                fn answers_cookie(ctx: *mut __sk_buff, v6: u32) -> u32 {
                    xps_answers_cookie(ctx, v6)
                }
                #[inline(always)]
                fn is_own(key: &FlowKey) -> bool {
                    OWN.get_ptr(key).is_some()
                }
                #[inline(always)]
                fn listens(ctx: *mut __sk_buff, v6: u32, plain_port: u32) -> u32 {
                    xps_listens(ctx, v6, plain_port)
                }
                #[inline(always)]
                fn verify(ctx: *mut __sk_buff) -> u32 {
                    xps_verify(ctx)
                }
                #[inline(always)]
                fn sum_reply(reply: *const Reply, piece: u32) -> u64 {
                    xps_sum_reply(reply, piece)
                }
                #[inline(always)]
                fn send_pieces(ctx: *mut __sk_buff) -> u32 {
                    xps_send_pieces(ctx)
                }
                #[inline(always)]
                fn settle_shown() {
                    xps_settle_shown();
                }
                #[inline(always)]
                fn digest(ctx: *mut __sk_buff, at: u32, len: u32) -> u64 {
                    xps_digest(ctx, at, len)
                }
                #[inline(always)]
                fn listeners() -> *mut core::ffi::c_void {
                    (&raw const LISTENERS).cast_mut().cast()
                }
                #[inline(always)]
                fn scan_request(ctx: *mut __sk_buff, state: *mut S, scratch: *mut W) -> bool {
                    xps_scan_request(ctx, state, scratch) != 0
                }
                #[inline(always)]
                fn scan_response(ctx: *mut __sk_buff, state: *mut S, scratch: *mut W) -> bool {
                    xps_scan_response(ctx, state, scratch) != 0
                }
                #[inline(always)]
                fn write(ctx: *mut __sk_buff, scratch: *mut W, reply: *const Reply) -> bool {
                    xps_write(ctx, scratch, reply) != 0
                }
                #[inline(always)]
                fn walk_options(ctx: *mut __sk_buff, scratch: *mut W, offset: u32, len: u32) -> bool {
                    xps_walk_options(ctx, scratch, offset, len) != 0
                }
                #[inline(always)]
                fn sum(ctx: *mut __sk_buff, from: u32, end: u32) -> u64 {
                    xps_sum(ctx, from, end)
                }
            }

            /// Takes priority tags off. Whether that was possible.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_priority_tags_off(ctx: *mut __sk_buff) -> u32 {
                let ctx = TcContext::new(ctx);
                u32::from(local::priority_tags_off::<H, _>(&Packet::<ServiceMaps>::new(&ctx)))
            }

            /// Whose packet it is.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_role(ctx: *mut __sk_buff, asked: u32) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return local::FOREIGN };
                let ctx = TcContext::new(ctx);
                local::role::<H, _>(&Packet::<ServiceMaps>::new(&ctx), scratch, local::Asked(asked))
            }

            /// Sum of a piece of a reply.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_sum_reply(reply: *const Reply, piece: u32) -> u64 {
                if reply.is_null() { 0 } else { sum_reply(reply, piece) }
            }

            /// A reply in pieces.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_send_pieces(ctx: *mut __sk_buff) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return ingress::pieces::WRITE_FAILED };
                // SAFETY: this CPU's own while the program runs.
                let Some(flow) = FLOWS.get_ptr_mut(unsafe { &(*scratch).key }) else {
                    return ingress::pieces::RACED;
                };
                let ctx = TcContext::new(ctx);
                ingress::pieces::send::<H, _>(&Packet::<ServiceMaps>::new(&ctx), scratch, flow)
            }

            /// Writes a packet of the programs' own. Whether it could be written.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_write(ctx: *mut __sk_buff, scratch: *mut W, reply: *const Reply) -> u32 {
                if scratch.is_null() {
                    return 0;
                }
                let ctx = TcContext::new(ctx);
                let packet = Packet::<ServiceMaps>::new(&ctx);
                u32::from(headers::write::<H, _>(
                    &packet,
                    scratch,
                    if reply.is_null() { None } else { Some(reply) },
                ))
            }

            /// TCP options. Whether they could be read.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_walk_options(
                ctx: *mut __sk_buff,
                scratch: *mut W,
                offset: u32,
                len: u32,
            ) -> u32 {
                if scratch.is_null() {
                    return 0;
                }
                u32::from(walk_options(ctx, scratch, offset, len, || xps_option() != 0))
            }

            /// One of them. Whether there may be more.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_option() -> u32 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
                // SAFETY: this CPU's own while the program runs.
                u32::from(unsafe { (*scratch).options.step() })
            }

            /// State of the server's socket for the key in the working memory.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_socket_state(ctx: *mut __sk_buff, v6: u32) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr(0) else { return ABSENT };
                socket_state(ctx, scratch, v6 != 0)
            }

            /// Whether a listener of the server takes the packet for the answer to a SYN cookie.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_answers_cookie(ctx: *mut __sk_buff, v6: u32) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
                u32::from(cookie::answers(ctx, scratch, v6 != 0))
            }

            /// Whether the server listens at the address of the key in the working memory.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_listens(ctx: *mut __sk_buff, v6: u32, plain_port: u32) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr(0) else { return 0 };
                u32::from(listens(ctx, scratch, ServiceMaps::listeners(), v6 != 0, plain_port as u16))
            }

            /// Adds the window that was shown last to the digest of what was shown.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_settle_shown() -> u32 {
                if let Some(scratch) = SCRATCH.get_ptr_mut(0) {
                    // SAFETY: this CPU's working memory.
                    unsafe { (*scratch).shown.settle(|offset, len| xps_digest_window(offset, len)) };
                }
                0
            }

            /// Digest of the window's first bytes.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_digest_window(offset: u32, len: u32) -> u64 {
                let (Some(scratch), Some(control)) = (SCRATCH.get_ptr(0), CONTROL.get_ptr(0)) else {
                    return 0;
                };
                // SAFETY: this CPU's working memory, and the agent's words.
                unsafe { binding::digest((*control).secret, &(*scratch).window, offset, len) }
            }

            /// Digest of a part of the payload.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_digest(ctx: *mut __sk_buff, at: u32, len: u32) -> u64 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
                digest_of(ctx, scratch, at, len, |offset, len| xps_digest_window(offset, len))
            }

            /// The window is about to be overwritten.
            #[inline(always)]
            fn xps_bind() {
                xps_settle_shown();
            }

            /// The server's bytes are bound to nothing.
            #[inline(always)]
            fn xps_bind_nothing() {}

            /// Whether the TCP checksum is right.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_verify(ctx: *mut __sk_buff) -> u32 {
                let Some(scratch) = SCRATCH.get_ptr(0) else { return 0 };
                let ctx = TcContext::new(ctx);
                u32::from(verify::<H, ServiceMaps>(&Packet::new(&ctx), scratch))
            }

            /// Sum of a packet's bytes.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_sum(ctx: *mut __sk_buff, from: u32, end: u32) -> u64 {
                sum(from, end, |at, end| xps_sum_part(ctx, at, end))
            }

            /// Sum of a window of them.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_sum_part(ctx: *mut __sk_buff, at: u32, end: u32) -> u64 {
                let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return u64::MAX };
                sum_part(ctx, scratch, at, end)
            }

            // Each of these is verified once, by itself, whatever calls it (kernel/bpf/verifier.c, global functions):
            // one step of the handler; 16 steps; 1024 times 16, which is more than the smallest requests in the largest
            // packet.
            $crate::scanner!(
                xps_request_step,
                xps_request_steps,
                xps_scan_request,
                request,
                xps_recall,
                xps_settle_read,
                xps_bind
            );
            $crate::scanner!(
                xps_response_step,
                xps_response_steps,
                xps_scan_response,
                response,
                xps_recall_nothing,
                xps_settle_nothing,
                xps_bind_nothing
            );

            /// Whether the window was read before.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_known(state: *mut S, scratch: *mut W) -> u32 {
                if state.is_null() || scratch.is_null() {
                    return 0;
                }
                let handler: H = make!();
                // SAFETY: checked; the caller has the claim on the state, and the scratch value is this CPU's.
                u32::from(unsafe { handler.recall(&(*scratch).window, &mut *state, &mut (*scratch).handler) })
            }

            /// What a step has read may be remembered.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_remember(state: *mut S, scratch: *mut W) -> u32 {
                if !state.is_null() && !scratch.is_null() {
                    let handler: H = make!();
                    // SAFETY: as above.
                    unsafe { handler.remember(&(*scratch).window, &*state, &mut (*scratch).handler) };
                }
                0
            }

            /// Whether the window, which was just filled, was read before; what it said is settled then.
            #[inline(always)]
            fn xps_recall(state: *mut S, scratch: *mut W) -> bool {
                let known = <H as Handler>::REMEMBERS && xps_known(state, scratch) != 0;
                if known {
                    xps_settle(state, scratch);
                }
                known
            }

            /// What a step has read is settled, and may be remembered.
            #[inline(always)]
            fn xps_settle_read(state: *mut S, scratch: *mut W) {
                if <H as Handler>::REMEMBERS {
                    xps_remember(state, scratch);
                }
                xps_settle(state, scratch);
            }

            /// Of the server nothing is remembered.
            #[inline(always)]
            fn xps_recall_nothing(_: *mut S, _: *mut W) -> bool {
                false
            }

            /// What a step has read.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn xps_settle(state: *mut S, scratch: *mut W) -> u32 {
                if !state.is_null() && !scratch.is_null() {
                    let handler: H = make!();
                    // SAFETY: checked; the caller has the claim on the state, and the scratch value is this CPU's.
                    unsafe { handler.settle(&mut *state, &mut (*scratch).handler) };
                }
                0
            }

            /// The server's bytes settle nothing.
            #[inline(always)]
            fn xps_settle_nothing(_: *mut S, _: *mut W) {}

            #[classifier]
            #[inline(always)]
            fn xps_ingress(ctx: TcContext) -> i32 {
                let handler: H = $make;
                finish(&ctx, ingress::run(&Packet::<ServiceMaps>::new(&ctx), &handler))
            }

            #[classifier]
            #[inline(always)]
            fn xps_open(ctx: TcContext) -> i32 {
                let handler: H = $make;
                finish(&ctx, connect::run(&Packet::<ServiceMaps>::new(&ctx), &handler))
            }

            #[classifier]
            #[inline(always)]
            fn xps_request(ctx: TcContext) -> i32 {
                let handler: H = $make;
                finish(&ctx, ingress::request::run(&Packet::<ServiceMaps>::new(&ctx), &handler))
            }

            #[classifier]
            #[inline(always)]
            fn xps_end(ctx: TcContext) -> i32 {
                let handler: H = $make;
                finish(&ctx, ingress::closing::run(&Packet::<ServiceMaps>::new(&ctx), &handler))
            }

            #[classifier]
            #[inline(always)]
            fn xps_error(ctx: TcContext) -> i32 {
                finish(&ctx, icmp::run::<H, _>(&Packet::<ServiceMaps>::new(&ctx)))
            }

            /// What a program at ingress returns, unless another goes on.
            #[inline(always)]
            fn finish(ctx: &TcContext, step: Step) -> i32 {
                let stage = match step {
                    Step::Done(action) => return return_code(action),
                    Step::Go(stage) => stage,
                };
                // One call for each: with a constant index the kernel makes it a jump.
                match stage {
                    Stage::Ingress => go::<{ Stage::Ingress as u32 }>(ctx),
                    Stage::Open => go::<{ Stage::Open as u32 }>(ctx),
                    Stage::Request => go::<{ Stage::Request as u32 }>(ctx),
                    Stage::End => go::<{ Stage::End as u32 }>(ctx),
                    Stage::Error => go::<{ Stage::Error as u32 }>(ctx),
                }
                if let Some(missing) = STATS.get_ptr_mut(Reason::StageMissing as u32) {
                    // SAFETY: this CPU's own.
                    unsafe { *missing += 1 };
                }
                return_code(stage.without())
            }

            /// Goes on in another program. Returns if that is not there.
            #[inline(always)]
            fn go<const STAGE: u32>(ctx: &TcContext) {
                // SAFETY: nothing is left to be dropped, and no lock is held.
                unsafe { STAGES.tail_call(ctx, STAGE) };
                $crate::xps_core::bound::apart::<STAGE>();
            }

            #[classifier]
            #[inline(always)]
            fn xps_egress(ctx: TcContext) -> i32 {
                let handler: H = $make;
                return_code(egress::run(&Packet::<ServiceMaps>::new(&ctx), &handler))
            }

            #[sk_lookup]
            #[inline(always)]
            fn xps_listen(ctx: SkLookupContext) -> u32 {
                const SK_PASS: u32 = 1;
                $crate::listen::run::<H, ServiceMaps>(ctx.lookup);
                SK_PASS
            }

            macro_rules! make {
                () => {
                    $make
                };
            }
            use make;
        }

        #[cfg(not(test))]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 4] = *b"GPL\0";
    };
}

/// Three functions that show a payload to a handler; part of [`service!`].
#[doc(hidden)]
#[macro_export]
macro_rules! scanner {
    ($step:ident, $steps:ident, $scan:ident, $method:ident, $recall:ident, $settle:ident, $bind:ident) => {
        /// One call of the handler. A [`Scan`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $step(state: *mut S, scratch: *mut W) -> u32 {
            if state.is_null() || scratch.is_null() {
                return Scan::Opaque as u32;
            }
            let handler: H = make!();
            // SAFETY: checked; the caller has the claim on the state, and the scratch value is this CPU's.
            unsafe { handler.$method(&mut (*scratch).window, &mut *state, &mut (*scratch).handler) as u32 }
        }

        /// 0: there may be more; 1: all is read; 2: not understood.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $steps(ctx: *mut __sk_buff, state: *mut S, scratch: *mut W) -> u32 {
            if state.is_null() || scratch.is_null() {
                return 2;
            }
            for _ in 0..16 {
                // SAFETY: as above.
                let empty = unsafe { (*scratch).window.at >= (*scratch).window.len };
                if empty {
                    match refill(ctx, scratch, $bind) {
                        Ok(true) => {}
                        Ok(false) => return 1,
                        Err(()) => return 2,
                    }
                    if $recall(state, scratch) {
                        // SAFETY: as above.
                        unsafe { (*scratch).window.at = (*scratch).window.len };
                        advance(scratch, Scan::Settle);
                        continue;
                    }
                }
                let scan = Scan::from_u32($step(state, scratch));
                if scan as u32 == Scan::Opaque as u32 {
                    return 2;
                }
                if scan as u32 == Scan::Settle as u32 {
                    $settle(state, scratch);
                }
                advance(scratch, scan);
            }
            0
        }

        /// 1: all is read; 0: not understood.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $scan(ctx: *mut __sk_buff, state: *mut S, scratch: *mut W) -> u32 {
            if state.is_null() || scratch.is_null() {
                return 0;
            }
            // SAFETY: as above.
            unsafe {
                (*scratch).window.at = 0;
                (*scratch).window.len = 0;
            }
            for _ in 0..1024 {
                match $steps(ctx, state, scratch) {
                    0 => {}
                    1 => return 1,
                    _ => return 0,
                }
            }
            0
        }
    };
}
