<?php

namespace App\Realtime;

use InvalidArgumentException;
use SensitiveParameter;

/**
 * Signs tokens for the clients of users who are logged in: JWTs with HS256. Needs
 * no other file.
 *
 *     (new TokenSigner(getenv('REALTIME_SIGNING_KEY')))->sign('42', ['private-user.42']);
 */
class TokenSigner
{
    /**
     * @param  string  $signingKey  a signing key of the app (sign_live_…); checked when it is used
     * @param  int  $life  seconds until a token expires, at most 86400
     */
    public function __construct(#[SensitiveParameter] private string $signingKey, private int $life = 300)
    {
    }

    /**
     * A token that lets a user subscribe to channels. In a channel's name, * at the
     * end stands for any characters: never put into it what users can choose.
     *
     * @param  string[]  $channels
     * @param  mixed  $info  what the others in a presence channel see, at most 1 KiB of JSON
     *
     * @throws InvalidArgumentException if the key or the life cannot be used
     */
    public function sign(string $user, array $channels, mixed $info = null): string
    {
        if (! preg_match('/^sign_live_[\x21-\x7e]+$/D', $this->signingKey)) {
            throw new InvalidArgumentException('REALTIME_SIGNING_KEY must be a signing key of the app (sign_live_…). Make one: caddy realtime key add <app> --kind sign.');
        }
        if ($this->life < 1 || $this->life > 86400) {
            throw new InvalidArgumentException("A token cannot live for $this->life seconds. Set token_life of the connection to a number from 1 to 86400.");
        }
        $now = time();
        $claims = ['sub' => $user, 'iat' => $now, 'exp' => $now + $this->life, 'channels' => array_values($channels)];
        if ($info !== null) {
            $claims['info'] = $info;
        }
        $unsigned = self::encode(['alg' => 'HS256', 'typ' => 'JWT']).'.'.self::encode($claims);

        return $unsigned.'.'.self::base64url(hash_hmac('sha256', $unsigned, $this->signingKey, true));
    }

    private static function encode(array $part): string
    {
        return self::base64url(json_encode($part, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION));
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
