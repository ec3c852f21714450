//! Replies leave by another way than requests come: direct server return, asymmetric routes.

use anyhow::{Result, ensure};

use super::super::{Service, on_each_port};

/// Everything is served, and nothing goes back the way that requests come. For
/// [`Network::direct_return`](super::super::Network::direct_return).
pub(crate) fn served<S: Service>(service: &S) -> Result<()> {
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        talk.pass()?;
        talk.answer()?;
        talk.receive_much()?;
        talk.answer()?;
        talk.send_much()?;
        talk.answer()?;
        let strayed = service.network().strayed()?;
        ensure!(strayed == 0, "{strayed} packets went back to the director");
        Ok(())
    })
}
