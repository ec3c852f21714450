//! A handler that looks at nothing: with it a session is a relay, for streams that are more than TCP alone.

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::verdict::{Reason, Verdict};

use crate::session::InProcess;

/// The handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blind;

impl Handler for Blind {
    type State = ();
    type Scratch = ();

    fn begin(&self, _: &FlowKey, (): &mut ()) {}

    fn request(&self, _: &mut Window, (): &mut (), (): &mut ()) -> Scan {
        Scan::Opaque
    }

    fn answer(&self, (): &mut (), (): &mut (), _: &mut Reply, _: u32) -> Verdict {
        Verdict::Pass(Reason::NotServed)
    }

    fn passed(&self, (): &mut (), (): &mut ()) {}

    fn response(&self, _: &mut Window, (): &mut (), (): &mut ()) -> Scan {
        Scan::Opaque
    }

    fn opaque(&self, (): &mut ()) {}

    fn ended(&self, _: &FlowKey, (): &mut ()) -> bool {
        true
    }

    fn requests(&self, (): &()) -> u32 {
        0
    }
}

impl InProcess for Blind {
    type Handler = Self;

    fn handler(&self) -> &Self {
        self
    }

    fn start(&self) {}

    fn scratch() -> Box<()> {
        Box::new(())
    }

    fn is_idle(&self, (): &()) -> bool {
        true
    }

    fn gone(&self, (): &mut ()) {}
}
