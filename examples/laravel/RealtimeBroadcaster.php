<?php

namespace App\Realtime;

use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use InvalidArgumentException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * The broadcast driver "realtime": what broadcast() takes to the gateway, and the
 * tokens with which clients subscribe to the channels of routes/channels.php.
 */
class RealtimeBroadcaster extends Broadcaster
{
    use UsePusherChannelConventions;

    public function __construct(private SocketPublisher $publisher, private TokenSigner $tokens)
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
            if (str_starts_with($channel, 'private-encrypted-')) {
                throw new InvalidArgumentException("The event for $channel is not broadcast: the realtime gateway does not encrypt. Use a PrivateChannel.");
            }
        }
        $this->publisher->sendToChannels($channels, $event, $payload, $except);
    }

    /**
     * Answers /broadcasting/auth: a token for the channel channel_name, if a rule in
     * routes/channels.php lets the user in.
     *
     * @throws AccessDeniedHttpException
     */
    public function auth($request)
    {
        $channel = $request->input('channel_name');
        // Without *, which in a token stands for other channels.
        if (! is_string($channel) || ! preg_match('~^(private|presence)-[A-Za-z0-9_=@,.;:/-]+$~D', $channel)) {
            throw new AccessDeniedHttpException('channel_name must be the name of a private or presence channel, such as private-orders.1 or presence-room.1.');
        }
        if (str_starts_with($channel, 'private-encrypted-')) {
            throw new AccessDeniedHttpException('The realtime gateway does not encrypt. Use a private channel.');
        }
        $name = $this->normalizeChannelName($channel);
        if (! $this->retrieveUser($request, $name)) {
            throw new AccessDeniedHttpException("Nobody is logged in, so there is no token for $channel.");
        }
        try {
            return $this->verifyUserCanAccessChannel($request, $name);
        } catch (AccessDeniedHttpException $e) {
            throw $e->getMessage() !== '' ? $e : new AccessDeniedHttpException("No rule in routes/channels.php lets this user into $channel.", $e);
        }
    }

    /** The token. $result is what the channel's rule returned: in a presence channel, what the others see of the user. */
    public function validAuthenticationResponse($request, $result)
    {
        $channel = $request->input('channel_name');
        $user = $this->retrieveUser($request, $this->normalizeChannelName($channel));
        $id = method_exists($user, 'getAuthIdentifierForBroadcasting') ? $user->getAuthIdentifierForBroadcasting() : $user->getAuthIdentifier();
        $info = str_starts_with($channel, 'presence-') && $result !== true ? $result : null;

        return ['token' => $this->tokens->sign((string) $id, [$channel], $info)];
    }

    /** What toOthers took from X-Socket-ID, a header that anyone can send: what is no socket's id leaves nobody out. */
    private function socketId(mixed $socket): ?string
    {
        return is_string($socket) && preg_match('/^[\x21-\x7e]{1,64}$/D', $socket) ? $socket : null;
    }
}
