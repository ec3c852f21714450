//! What happens: members that are seen differently, and BFD sessions that go up and down, for whoever acts on either.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::bfd::SessionChange;
use crate::prober::Prober;
use crate::prober::event::Event;
use crate::sessions::Sessions;

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A member is seen differently.
    Member(Arc<Event>),
    /// A BFD session has another state.
    Session(SessionChange),
    /// So many things of one kind that they were not told.
    Missed(u64),
}

/// What happens from now on.
#[derive(Debug)]
pub struct Happenings {
    members: broadcast::Receiver<Arc<Event>>,
    sessions: Option<broadcast::Receiver<SessionChange>>,
}

impl Happenings {
    /// From now on.
    #[must_use]
    pub fn of(prober: &Prober, sessions: Option<&Sessions>) -> Self {
        Self { members: prober.events(), sessions: sessions.map(Sessions::changes) }
    }

    /// The next one; `None` if there will be none any more. May be cancelled.
    pub async fn next(&mut self) -> Option<Happening> {
        let Self { members, sessions } = self;
        let session = async {
            match sessions {
                Some(sessions) => sessions.recv().await,
                None => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            event = members.recv() => event.map(Happening::Member),
            change = session => change.map(Happening::Session),
        };
        match happened {
            Ok(happening) => Some(happening),
            Err(RecvError::Lagged(missed)) => Some(Happening::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
