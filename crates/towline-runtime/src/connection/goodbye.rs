//! How a connection is left in good order.

use std::time::Duration;

use tokio::time::timeout;
use towline_proto::server::Goodbye;
use towline_transport::{CloseCode, CloseFrame, FrameSource, Inbound};

/// The close frame of a goodbye [ARCP 4-7].
pub(super) fn close_frame(goodbye: Goodbye, reason: &str) -> CloseFrame {
    let code = match goodbye {
        Goodbye::Normal => CloseCode::NORMAL,
        Goodbye::GoingAway => CloseCode::GOING_AWAY,
        Goodbye::Protocol => CloseCode::PROTOCOL,
        Goodbye::Policy => CloseCode::POLICY,
        Goodbye::TooBig => CloseCode::TOO_BIG,
        Goodbye::Internal => CloseCode::INTERNAL,
        Goodbye::TryLater => CloseCode::TRY_AGAIN,
    };
    CloseFrame::new(code, reason)
}

/// Reads on for a moment after the goodbye, so that the peer's own goodbye is answered and ours is not lost.
pub(super) async fn linger(limit: Duration, source: &mut dyn FrameSource) {
    let drain =
        async { while !matches!(source.receive().await, None | Some(Inbound::Closed(_))) {} };
    // A peer that goes on talking is not listened to for long.
    let _ = timeout(limit, drain).await;
}
