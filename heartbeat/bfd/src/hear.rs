//! What a packet changes (section 6.8.6).

use heartbeat_fastpath::bfd::{Control, Diagnostic, State, Unverified};

use crate::mistake::Mistake;
use crate::session::{Refused, Remote, Session};

impl Session {
    /// Takes a packet that has come from the other side.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn handle(&mut self, now_ns: u64, packet: &Unverified<'_>) -> Result<(), Refused> {
        let yours = packet.your_discriminator();
        if yours != 0 && yours != self.discriminator.get() {
            return Err(Refused::OtherSession);
        }
        let control = match &mut self.authentication {
            None => packet.plain(),
            Some(authentication) => authentication.heard.receive(packet),
        }
        .map_err(Refused::Packet)?;
        let now_ns = self.arrive(now_ns);
        self.learn(&control);
        self.heard_ns = Some(now_ns);
        if control.is_final {
            self.parameters.answered();
        }
        let detection_ns = self.detection_ns();
        let keeps_sequence = self.makes(Mistake::KeepingSequence);
        if let Some(authentication) = &mut self.authentication
            && !keeps_sequence
        {
            authentication.keep(now_ns, detection_ns);
        }
        // What is held down listens, but neither follows nor answers.
        if self.state != State::AdminDown {
            self.follow(control.state);
            self.see_to_echo();
            self.negotiate();
            if control.poll && !self.makes(Mistake::IgnoringPolls) {
                self.send_final();
            }
        }
        self.settle();
        Ok(())
    }

    fn learn(&mut self, control: &Control) {
        self.remote = Remote {
            discriminator: control.my_discriminator.get(),
            state: control.state,
            diagnostic: control.diagnostic,
            demand: control.demand,
            detect_multiplier: control.detect_multiplier.get(),
            desired_min_tx_us: control.desired_min_tx_us,
            required_min_rx_us: control.required_min_rx_us,
            required_min_echo_rx_us: control.required_min_echo_rx_us,
        };
    }

    /// The state machine (section 6.8.6).
    fn follow(&mut self, remote: State) {
        match (self.state, remote) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.change(State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
            }
            (State::Down, State::Down | State::Init) if self.path_down => {}
            (State::Down, State::Down) if self.makes(Mistake::SkippingInit) => {
                self.change(State::Up, Diagnostic::NONE);
            }
            (State::Down, State::Down) => self.change(State::Init, self.diagnostic),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.change(State::Up, Diagnostic::NONE);
            }
            _ => {}
        }
    }
}
