<?php

namespace App\Realtime;

use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use InvalidArgumentException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * The broadcast driver "realtime": what broadcast() takes to the gateway.
 *
 * It does not authorise clients yet: no route of this application signs their
 * tokens. So a private channel is refused here, unless the application has taken
 * care of that.
 */
class RealtimeBroadcaster extends Broadcaster
{
    public function __construct(private SocketPublisher $publisher, private bool $allowPrivate = false)
    {
    }

    /**
     * Publishes the event to its channels in one request, under the name that
     * Laravel gives it: that of broadcastAs, or else the class.
     *
     * @throws PublishException
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $except = $this->socketId($payload['socket'] ?? null);
        unset($payload['socket']);

        $channels = array_unique($this->formatChannels($channels));
        foreach ($channels as $channel) {
            $this->refusePrivate($channel);
        }
        $this->publisher->sendToChannels($channels, $event, $payload, $except);
    }

    /** Answers /broadcasting/auth, which only private channels have a use for. */
    public function auth($request)
    {
        throw new AccessDeniedHttpException('This driver authorizes no channels: clients of the realtime gateway show a token that the application signs. See docs/who-can-see-what.md of caddy-realtime.');
    }

    public function validAuthenticationResponse($request, $result)
    {
        return $this->auth($request);
    }

    private function refusePrivate(string $channel): void
    {
        if (str_starts_with($channel, 'private-encrypted-')) {
            throw new InvalidArgumentException("The event for $channel is not broadcast: the realtime gateway does not encrypt.");
        }
        if (! $this->allowPrivate && preg_match('/^(private|presence)-/', $channel)) {
            throw new InvalidArgumentException("The event for $channel is not broadcast: this driver does not authorize who subscribes to it. If the application signs tokens for its users, or all may read it, set allow_private of the connection to true.");
        }
    }

    /** What toOthers took from X-Socket-ID, a header that anyone can send: what is no socket's id leaves nobody out. */
    private function socketId(mixed $socket): ?string
    {
        return is_string($socket) && preg_match('/^[\x21-\x7e]{1,64}$/D', $socket) ? $socket : null;
    }
}
